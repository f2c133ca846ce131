// Owns the checklist for pgJDBC. Usage: java -cp postgresql.jar Jdbc.java JDBC-URL CLIENTS.
// It must not know what answers the URL.

import java.io.ByteArrayOutputStream;
import java.io.StringReader;
import java.sql.*;
import java.util.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    static final int HEAVY_CLIENTS = 2;
    static final Map<String, Integer> passed = Collections.synchronizedMap(new LinkedHashMap<>());
    static final AtomicInteger failed = new AtomicInteger();
    static String url;

    interface Check { void run(Jdbc c) throws Exception; }
    interface Call { void run() throws Exception; }

    final int number;
    final String table;
    Connection conn;

    Jdbc(int number) {
        this.number = number;
        this.table = "jdbc_" + number;
    }

    static Connection connect(String more) throws SQLException {
        return DriverManager.getConnection(url + more);
    }

    static void same(Object got, Object expected) {
        if (!Objects.equals(String.valueOf(got), String.valueOf(expected)))
            throw new AssertionError("got " + got + ", expected " + expected);
    }

    static SQLException raises(String state, Call call) throws Exception {
        try {
            call.run();
        } catch (SQLException error) {
            SQLException last = error;
            while (last.getNextException() != null) last = last.getNextException();
            same(last.getSQLState(), state);
            return last;
        }
        throw new AssertionError("expected an error " + state);
    }

    void exec(String sql) throws SQLException {
        try (Statement s = conn.createStatement()) { s.execute(sql); }
    }

    String one(Connection conn, String sql, Object... args) throws SQLException {
        try (PreparedStatement s = conn.prepareStatement(sql)) {
            for (int i = 0; i < args.length; i++) s.setObject(i + 1, args[i]);
            try (ResultSet rows = s.executeQuery()) {
                rows.next();
                return rows.getString(1);
            }
        }
    }

    String one(String sql, Object... args) throws SQLException { return one(conn, sql, args); }

    void setup() throws Exception {
        exec("DROP TABLE IF EXISTS " + table);
        exec("CREATE TABLE " + table + " (id int PRIMARY KEY, v text)");
        exec("INSERT INTO " + table + " VALUES (1, 'one')");
    }

    void simple() throws Exception {
        try (Connection c = connect("&preferQueryMode=simple")) {
            same(one(c, "SELECT 1"), 1);
            same(one(c, "SELECT v FROM " + table + " WHERE id = 1"), "one");
        }
        exec("UPDATE " + table + " SET v = 'uno' WHERE id = 1");
        same(one("SELECT v FROM " + table + " WHERE id = ?", 1), "uno");
    }

    void transactions() throws Exception {
        conn.setAutoCommit(false);
        exec("INSERT INTO " + table + " VALUES (2, 'two')");
        conn.commit();
        same(one("SELECT v FROM " + table + " WHERE id = 2"), "two");
        exec("DELETE FROM " + table);
        conn.rollback();
        same(one("SELECT count(*) FROM " + table), 2);
        Savepoint savepoint = conn.setSavepoint("s");
        raises("22012", () -> one("SELECT 1/0"));
        raises("25P02", () -> one("SELECT 1"));
        conn.rollback(savepoint);
        exec("INSERT INTO " + table + " VALUES (3, 'three')");
        conn.commit();
        conn.setAutoCommit(true);
        same(one("SELECT count(*) FROM " + table), 3);
    }

    void preparedText() throws Exception { prepared("&binaryTransfer=false"); }

    void preparedBinary() throws Exception { prepared("&prepareThreshold=-1"); }

    void prepared(String more) throws Exception {
        try (Connection c = connect(more);
                PreparedStatement s = c.prepareStatement("SELECT ?::int8, ?::float8, v, ?::uuid FROM "
                        + table + " WHERE id = ?")) {
            UUID uuid = new UUID(1, 2);
            for (int i = 0; i < 10; i++) {
                c.setAutoCommit(i % 2 == 0);
                s.setLong(1, i);
                s.setDouble(2, i / 2.0);
                s.setObject(3, uuid);
                s.setInt(4, 1);
                try (ResultSet rows = s.executeQuery()) {
                    rows.next();
                    same(rows.getLong(1), (long) i);
                    same(rows.getDouble(2), i / 2.0);
                    same(rows.getString(3), "uno");
                    same(rows.getObject(4), uuid);
                }
                if (i % 2 == 1) c.commit();
            }
        }
    }

    void preparedMany() throws Exception {
        try (Connection c = connect("&prepareThreshold=1")) {
            for (int round = 0; round < 3; round++)
                for (int i = 0; i < 40; i++)
                    same(one(c, "SELECT ?::int + " + i, 100), 100 + i);
        }
    }

    void sameName() throws Exception {
        try (Connection a = connect("&prepareThreshold=1"); Connection b = connect("&prepareThreshold=1");
                PreparedStatement x = a.prepareStatement("SELECT ?::int");
                PreparedStatement y = b.prepareStatement("SELECT 'b' || ?::text")) {
            for (int i = 0; i < 5; i++) {
                x.setInt(1, i);
                y.setString(1, "t");
                try (ResultSet rows = x.executeQuery()) { rows.next(); same(rows.getInt(1), i); }
                try (ResultSet rows = y.executeQuery()) { rows.next(); same(rows.getString(1), "bt"); }
            }
        }
    }

    void batch() throws Exception {
        try (PreparedStatement s = conn.prepareStatement("INSERT INTO " + table + " VALUES (?, 'p')")) {
            for (int i = 100; i < 600; i++) { s.setInt(1, i); s.addBatch(); }
            same(Arrays.stream(s.executeBatch()).sum(), 500);
        }
        same(one("SELECT count(*) FROM " + table + " WHERE v = 'p'"), 500);
    }

    void batchError() throws Exception {
        try (PreparedStatement s = conn.prepareStatement("INSERT INTO " + table + " VALUES (?, 'q')")) {
            for (int id : new int[] {700, 1, 701}) { s.setInt(1, id); s.addBatch(); }
            raises("23505", s::executeBatch);
        }
        same(one("SELECT count(*) FROM " + table + " WHERE v = 'q'"), 0);
    }

    void sqlErrors() throws Exception {
        raises("42601", () -> one("SELEC 1"));
        raises("23505", () -> exec("INSERT INTO " + table + " VALUES (1, '')"));
        raises("22012", () -> one("SELECT ?::int / 0", 1));
        same(one("SELECT 1"), 1);
    }

    void copyText() throws Exception {
        CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder data = new StringBuilder();
        for (int i = 1000; i < 1500; i++) data.append(i).append("\trow ").append(i).append('\n');
        same(copy.copyIn("COPY " + table + " FROM STDIN", new StringReader(data.toString())), 500);
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        copy.copyOut("COPY (SELECT * FROM " + table + " WHERE id >= 1000 ORDER BY id) TO STDOUT", out);
        same(out.toString("UTF-8"), data.toString());
    }

    void copyCsvAndBinary() throws Exception {
        CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
        copy.copyIn("COPY " + table + " FROM STDIN (FORMAT csv)", new StringReader("2000,\"a,\"\"b\"\n"));
        same(one("SELECT v FROM " + table + " WHERE id = 2000"), "a,\"b");
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        copy.copyOut("COPY (SELECT 1::int4) TO STDOUT (FORMAT binary)", out);
        same(out.size(), 11 + 8 + 2 + 8 + 2);
    }

    void copyFail() throws Exception {
        CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
        String sql = "COPY " + table + " FROM STDIN";
        raises("22P02", () -> copy.copyIn(sql, new StringReader("bad\tbad\n")));
        copy.copyIn(sql).cancelCopy();
        same(one("SELECT 1"), 1);
    }

    void cancel() throws Exception {
        try (Statement s = conn.createStatement()) {
            Thread canceller = new Thread(() -> {
                try { Thread.sleep(300); s.cancel(); } catch (Exception error) { error.printStackTrace(); }
            });
            canceller.start();
            long began = System.nanoTime();
            raises("57014", () -> s.execute("SELECT pg_sleep(30)"));
            canceller.join();
            if (System.nanoTime() - began > 20_000_000_000L) throw new AssertionError("late");
        }
        same(one("SELECT 1"), 1);
    }

    void largeValue() throws Exception {
        if (number >= HEAVY_CLIENTS) return;
        String text = "x".repeat(10 << 20);
        same(one("SELECT length(?)", text), text.length());
        try (PreparedStatement s = conn.prepareStatement("INSERT INTO " + table + " VALUES (3000, ?)")) {
            s.setString(1, text);
            s.execute();
        }
        if (!one("SELECT v FROM " + table + " WHERE id = 3000").equals(text))
            throw new AssertionError("10 MB came back changed");
    }

    void largeResult() throws Exception {
        if (number >= HEAVY_CLIENTS) return;
        same(count("SELECT i FROM generate_series(1, 100000) i", 0), 100000);
    }

    int count(String sql, int fetchSize) throws Exception {
        try (Statement s = conn.createStatement()) {
            s.setFetchSize(fetchSize);
            int total = 0;
            try (ResultSet rows = s.executeQuery(sql)) { while (rows.next()) total++; }
            return total;
        }
    }

    void fetchSize() throws Exception {
        conn.setAutoCommit(false);
        same(count("SELECT i FROM generate_series(1, 1005) i", 100), 1005);
        conn.commit();
        conn.setAutoCommit(true);
    }

    void nullsAndEmpty() throws Exception {
        same(one("SELECT ?::int", new Object[] {null}), null);
        exec("");
        same(count("SELECT * FROM " + table + " WHERE false", 0), 0);
    }

    void multiStatement() throws Exception {
        try (Statement s = conn.createStatement()) {
            same(s.execute("SELECT 1; UPDATE " + table + " SET v = v WHERE id = 1; SELECT 2"), true);
            same(s.getMoreResults(), false);
            same(s.getUpdateCount(), 1);
            same(s.getMoreResults(), true);
        }
        raises("22012", () -> exec("INSERT INTO " + table + " VALUES (4000); SELECT 1/0"));
        same(one("SELECT count(*) FROM " + table + " WHERE id = 4000"), 0);
    }

    void notices() throws Exception {
        try (Statement s = conn.createStatement()) {
            s.execute("DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$");
            same(s.getWarnings().getMessage(), "hello 7");
        }
    }

    void settings() throws Exception {
        Map<String, String> expected = Map.of("TimeZone", "Asia/Tokyo", "search_path",
                "pg_catalog, public", "application_name", "checklist", "statement_timeout", "77s");
        try (Connection c = connect("&ApplicationName=checklist"); Statement s = c.createStatement()) {
            s.execute("SET TIME ZONE 'Asia/Tokyo'");
            s.execute("SET search_path TO pg_catalog, public");
            s.execute("SET statement_timeout TO '77s'");
            for (int round = 0; round < 5; round++)
                for (Map.Entry<String, String> e : expected.entrySet()) {
                    same(one(c, "SHOW " + e.getKey()), e.getValue());
                    c.setAutoCommit(false);
                    same(one(c, "SELECT current_setting(?)", e.getKey()), e.getValue());
                    c.commit();
                    c.setAutoCommit(true);
                }
        }
    }

    void readOnly() throws Exception {
        try (Connection c = connect("")) {
            c.setReadOnly(true);
            c.setAutoCommit(false);
            same(one(c, "SELECT v FROM " + table + " WHERE id = 1"), "uno");
            raises("25006", () -> {
                try (Statement s = c.createStatement()) { s.execute("DELETE FROM " + table); }
            });
            c.rollback();
        }
    }

    void isolation() throws Exception {
        conn.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        conn.setAutoCommit(false);
        same(one("SHOW transaction_isolation"), "serializable");
        exec("UPDATE " + table + " SET v = 'uno' WHERE id = 1");
        conn.commit();
        conn.setAutoCommit(true);
        conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        same(one("SHOW transaction_isolation"), "read committed");
    }

    void types() throws Exception {
        Timestamp moment = new Timestamp(1709208000000L);
        try (PreparedStatement s = conn.prepareStatement("SELECT ?::timestamptz, ?::int[], ?::jsonb")) {
            s.setTimestamp(1, moment);
            s.setArray(2, conn.createArrayOf("int4", new Integer[] {1, null, 3}));
            s.setString(3, "{\"a\": [1]}");
            try (ResultSet rows = s.executeQuery()) {
                rows.next();
                same(rows.getTimestamp(1), moment);
                same(Arrays.toString((Object[]) rows.getArray(2).getArray()), "[1, null, 3]");
                same(rows.getString(3), "{\"a\": [1]}");
            }
        }
    }

    static Map<String, Check> checks() {
        Map<String, Check> all = new LinkedHashMap<>();
        all.put("setup", Jdbc::setup);
        all.put("simple", Jdbc::simple);
        all.put("transactions", Jdbc::transactions);
        all.put("prepared_text", Jdbc::preparedText);
        all.put("prepared_binary", Jdbc::preparedBinary);
        all.put("prepared_many", Jdbc::preparedMany);
        all.put("same_name", Jdbc::sameName);
        all.put("batch", Jdbc::batch);
        all.put("batch_error", Jdbc::batchError);
        all.put("sql_errors", Jdbc::sqlErrors);
        all.put("copy_text", Jdbc::copyText);
        all.put("copy_csv_and_binary", Jdbc::copyCsvAndBinary);
        all.put("copy_fail", Jdbc::copyFail);
        all.put("cancel", Jdbc::cancel);
        all.put("large_value", Jdbc::largeValue);
        all.put("large_result", Jdbc::largeResult);
        all.put("fetch_size", Jdbc::fetchSize);
        all.put("nulls_and_empty", Jdbc::nullsAndEmpty);
        all.put("multi_statement", Jdbc::multiStatement);
        all.put("notices", Jdbc::notices);
        all.put("settings", Jdbc::settings);
        all.put("read_only", Jdbc::readOnly);
        all.put("isolation", Jdbc::isolation);
        all.put("types", Jdbc::types);
        return all;
    }

    void runAll() {
        for (Map.Entry<String, Check> item : checks().entrySet()) {
            try {
                if (conn == null) conn = connect("");
                item.getValue().run(this);
                passed.merge(item.getKey(), 1, Integer::sum);
            } catch (Throwable error) {
                failed.incrementAndGet();
                int line = 0;
                for (StackTraceElement e : error.getStackTrace())
                    if (e.getClassName().startsWith("Jdbc")) { line = e.getLineNumber(); break; }
                System.out.println("FAIL " + item.getKey() + ": client " + number + ": line " + line
                        + ": " + String.valueOf(error).replace('\n', ' '));
                try { if (conn != null) conn.close(); } catch (SQLException ignored) { }
                conn = null;
            }
        }
        try { exec("DROP TABLE " + table); conn.close(); } catch (Exception ignored) { }
    }

    public static void main(String[] args) throws Exception {
        url = args[0];
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            Thread thread = new Thread(new Jdbc(i)::runAll);
            thread.start();
            threads.add(thread);
        }
        for (Thread thread : threads) thread.join();
        passed.forEach((name, count) -> System.out.println("ok " + name + " (" + count + " clients)"));
        System.exit(failed.get() > 0 ? 1 : 0);
    }
}
