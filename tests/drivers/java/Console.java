// Owns what is asked of the console by pgJDBC. Usage: java -cp postgresql.jar:. Console JDBC-URL.
// It goes through everything in each of the driver's modes.

import java.sql.*;

public class Console {
    static String url;

    static Connection connect(String mode) throws SQLException {
        return DriverManager.getConnection(url + "&preferQueryMode=" + mode + "&prepareThreshold=2");
    }

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static String one(Connection conn, String sql) throws SQLException {
        try (Statement s = conn.createStatement(); ResultSet rows = s.executeQuery(sql)) {
            check(rows.next(), sql);
            return rows.getString(1);
        }
    }

    static void commands(Connection conn) throws SQLException {
        check(one(conn, "SHOW VERSION").startsWith("pgmanifold "), "version");
        check(conn.isValid(5), "isValid");
        check(conn.getTransactionIsolation() == Connection.TRANSACTION_READ_COMMITTED, "isolation");
        check(conn.getMetaData().getDatabaseMajorVersion() >= 15, "major version");
        try (PreparedStatement s = conn.prepareStatement("SHOW STATS")) {
            for (int i = 0; i < 6; i++) {
                try (ResultSet rows = s.executeQuery()) {
                    check(rows.next(), "a row");
                    check(rows.getBigDecimal("total_query_count").signum() >= 0, "numeric");
                    check(rows.getMetaData().getColumnType(2) == Types.NUMERIC, "its type");
                }
            }
        }
    }

    static void transactions(Connection conn) throws SQLException {
        conn.setAutoCommit(false);
        one(conn, "SHOW STATE");
        Savepoint point = conn.setSavepoint("a");
        conn.rollback(point);
        conn.commit();
        // Rows a few at a time: a portal with a limit.
        try (Statement s = conn.createStatement()) {
            s.setFetchSize(3);
            int count = 0;
            try (ResultSet rows = s.executeQuery("SHOW CONFIG")) {
                while (rows.next()) count++;
            }
            check(count > 10, "rows of SHOW CONFIG: " + count);
        }
        conn.rollback();
        conn.setAutoCommit(true);
    }

    static void errors(Connection conn) throws SQLException {
        try {
            one(conn, "SHOW nonsense");
            throw new AssertionError("no error");
        } catch (SQLException error) {
            check("42704".equals(error.getSQLState()), error.getSQLState());
        }
        one(conn, "SHOW VERSION");
    }

    public static void main(String[] args) throws Exception {
        url = args[0];
        for (String mode : new String[] {"simple", "extended", "extendedForPrepared", "extendedCacheEverything"}) {
            try (Connection conn = connect(mode)) {
                commands(conn);
                System.out.println("ok commands, " + mode);
                transactions(conn);
                System.out.println("ok transactions, " + mode);
                errors(conn);
                System.out.println("ok errors, " + mode);
            }
        }
    }
}
