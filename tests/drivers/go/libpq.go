// Owns the checklist for lib/pq. Usage: libpq URL CLIENTS.
// It must not know what answers the URL.
package main

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lib/pq"
)

// Clients above this number skip the checks that move many bytes.
const heavyClients = 2

type client struct {
	url    string
	number int
	table  string
	db     *sql.DB
	conn   *sql.Conn
}

var ctx = context.Background()

// check stops a checklist item; the runner recovers it.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

func same(got, expected interface{}) {
	if fmt.Sprint(got) != fmt.Sprint(expected) {
		panic(fmt.Errorf("got %.200v, expected %.200v", got, expected))
	}
}

func (c *client) exec(query string, args ...interface{}) sql.Result {
	result, err := c.conn.ExecContext(ctx, query, args...)
	check(err)
	return result
}

func (c *client) one(query string, args ...interface{}) string {
	var value sql.NullString
	check(c.conn.QueryRowContext(ctx, query, args...).Scan(&value))
	return value.String
}

func raises(err error, code string) *pq.Error {
	var pe *pq.Error
	if !errors.As(err, &pe) {
		panic(fmt.Errorf("expected error %s, got %v", code, err))
	}
	same(string(pe.Code), code)
	return pe
}

func (c *client) fails(code string, query string, args ...interface{}) *pq.Error {
	rows, err := c.conn.QueryContext(ctx, query, args...)
	if err == nil {
		for rows.Next() {
		}
		err = rows.Err()
		rows.Close()
	}
	return raises(err, code)
}

func setup(c *client) {
	c.exec("DROP TABLE IF EXISTS " + c.table)
	c.exec("CREATE TABLE " + c.table + " (id int PRIMARY KEY, v text)")
	c.exec("INSERT INTO " + c.table + " VALUES (1, 'one')")
}

func simple(c *client) {
	same(c.one("SELECT 1"), 1)
	c.exec("UPDATE " + c.table + " SET v = 'uno' WHERE id = 1")
	same(c.one("SELECT v FROM "+c.table+" WHERE id = 1"), "uno")
}

func transactions(c *client) {
	tx, err := c.conn.BeginTx(ctx, nil)
	check(err)
	_, err = tx.Exec("INSERT INTO " + c.table + " VALUES (2, 'two')")
	check(err)
	check(tx.Commit())
	same(c.one("SELECT v FROM "+c.table+" WHERE id = 2"), "two")
	tx, err = c.conn.BeginTx(ctx, nil)
	check(err)
	_, err = tx.Exec("DELETE FROM " + c.table)
	check(err)
	check(tx.Rollback())
	same(c.one("SELECT count(*) FROM "+c.table), 2)
	tx, err = c.conn.BeginTx(ctx, nil)
	check(err)
	_, err = tx.Exec("SAVEPOINT s")
	check(err)
	_, err = tx.Exec("SELECT 1/0")
	raises(err, "22012")
	_, err = tx.Exec("SELECT 1")
	raises(err, "25P02")
	_, err = tx.Exec("ROLLBACK TO s")
	check(err)
	_, err = tx.Exec("INSERT INTO "+c.table+" VALUES ($1, 'three')", 3)
	check(err)
	check(tx.Commit())
	same(c.one("SELECT count(*) FROM "+c.table), 3)
}

// preparedText uses statements of one connection across its transactions.
func preparedText(c *client) {
	stmt, err := c.conn.PrepareContext(ctx, "SELECT v FROM "+c.table+" WHERE id = $1")
	check(err)
	defer stmt.Close()
	for i := 0; i < 6; i++ {
		var v string
		check(stmt.QueryRow(1).Scan(&v))
		same(v, "uno")
		tx, err := c.conn.BeginTx(ctx, nil)
		check(err)
		check(tx.Stmt(stmt).QueryRow(1).Scan(&v))
		same(v, "uno")
		check(tx.Commit())
	}
}

func preparedBinary(c *client) {
	db, err := sql.Open("postgres", c.url+"&binary_parameters=yes")
	check(err)
	defer db.Close()
	bytes := []byte{0, 1, 2, 255, '\\', '\''}
	var got []byte
	check(db.QueryRow("SELECT $1::bytea", bytes).Scan(&got))
	same(got, bytes)
	stmt, err := db.Prepare("SELECT $1::bytea")
	check(err)
	check(stmt.QueryRow(bytes).Scan(&got))
	same(got, bytes)
	check(stmt.Close())
}

func preparedMany(c *client) {
	var stmts []*sql.Stmt
	for i := 0; i < 40; i++ {
		stmt, err := c.conn.PrepareContext(ctx, "SELECT $1::int + "+strconv.Itoa(i))
		check(err)
		stmts = append(stmts, stmt)
	}
	for round := 0; round < 3; round++ {
		for i, stmt := range stmts {
			var n int
			check(stmt.QueryRow(100).Scan(&n))
			same(n, 100+i)
		}
	}
	for _, stmt := range stmts {
		check(stmt.Close())
	}
}

// sameName: lib/pq numbers its statements from 1 in every connection.
func sameName(c *client) {
	for i := 0; i < 3; i++ {
		first, err := sql.Open("postgres", c.url)
		check(err)
		second, err := sql.Open("postgres", c.url)
		check(err)
		a, err := first.Prepare("SELECT $1::int")
		check(err)
		b, err := second.Prepare("SELECT 'b', $1::text")
		check(err)
		var n int
		var x, y string
		check(a.QueryRow(7).Scan(&n))
		check(b.QueryRow("t").Scan(&x, &y))
		same(n, 7)
		same(x+y, "bt")
		check(first.Close())
		check(second.Close())
	}
}

func sqlErrors(c *client) {
	c.fails("42601", "SELEC 1")
	pe := c.fails("23505", "INSERT INTO "+c.table+" VALUES (1, '')")
	same(pe.Constraint, c.table+"_pkey")
	c.fails("22012", "SELECT $1::int / 0", 1)
	same(c.one("SELECT 1"), 1)
}

func (c *client) copyIn(rows [][]interface{}) error {
	tx, err := c.conn.BeginTx(ctx, nil)
	check(err)
	stmt, err := tx.Prepare(pq.CopyIn(c.table, "id", "v"))
	check(err)
	for _, row := range rows {
		if _, err = stmt.Exec(row...); err != nil {
			break
		}
	}
	if err == nil {
		_, err = stmt.Exec()
	}
	stmt.Close()
	if err != nil {
		tx.Rollback()
		return err
	}
	return tx.Commit()
}

func copyIn(c *client) {
	var rows [][]interface{}
	for i := 0; i < 500; i++ {
		rows = append(rows, []interface{}{1000 + i, "row\t" + strconv.Itoa(i)})
	}
	check(c.copyIn(rows))
	same(c.one("SELECT v FROM "+c.table+" WHERE id = 1499"), "row\t499")
}

func copyFail(c *client) {
	raises(c.copyIn([][]interface{}{{"bad", "bad"}}), "22P02")
	same(c.one("SELECT 1"), 1)
}

func cancel(c *client) {
	limited, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	began := time.Now()
	_, err := c.conn.ExecContext(limited, "SELECT pg_sleep(30)")
	if err == nil || time.Since(began) > 20*time.Second {
		panic(fmt.Errorf("not cancelled in time: %v after %v", err, time.Since(began)))
	}
	// lib/pq gives the connection up after a cancellation: it must not go back to its pool.
	c.conn.Raw(func(interface{}) error { return driver.ErrBadConn })
	c.conn.Close()
	c.reconnect()
	same(c.one("SELECT 1"), 1)
}

func largeValue(c *client) {
	if c.number >= heavyClients {
		return
	}
	text := strings.Repeat("x", 10<<20)
	same(c.one("SELECT length($1)", text), len(text))
	c.exec("INSERT INTO "+c.table+" VALUES (3000, $1)", text)
	if c.one("SELECT v FROM "+c.table+" WHERE id = 3000") != text {
		panic("10 MB came back changed")
	}
}

func largeResult(c *client) {
	if c.number >= heavyClients {
		return
	}
	rows, err := c.conn.QueryContext(ctx, "SELECT i FROM generate_series(1, 100000) i")
	check(err)
	total, i := 0, 0
	for rows.Next() {
		check(rows.Scan(&i))
		total++
	}
	check(rows.Err())
	same(total, 100000)
}

func nullsAndEmpty(c *client) {
	var value sql.NullInt64
	check(c.conn.QueryRowContext(ctx, "SELECT $1::int", nil).Scan(&value))
	same(value.Valid, false)
	c.exec("")
	same(c.one("SELECT count(*) FROM "+c.table+" WHERE false"), 0)
}

func multiStatement(c *client) {
	c.exec("INSERT INTO " + c.table + " VALUES (4000, 'm'); SELECT 1; SELECT 2")
	same(c.one("SELECT v FROM "+c.table+" WHERE id = 4000"), "m")
	c.fails("22012", "INSERT INTO "+c.table+" VALUES (4001, 'm'); SELECT 1/0")
	same(c.one("SELECT count(*) FROM "+c.table+" WHERE id = 4001"), 0)
}

func notices(c *client) {
	seen := make(chan string, 10)
	base, err := pq.NewConnector(c.url)
	check(err)
	db := sql.OpenDB(pq.ConnectorWithNoticeHandler(base, func(n *pq.Error) { seen <- n.Message }))
	defer db.Close()
	_, err = db.Exec("DO $$ BEGIN RAISE NOTICE 'hello %', 7; END $$")
	check(err)
	same(<-seen, "hello 7")
}

func settings(c *client) {
	db, err := sql.Open("postgres", c.url+"&application_name=checklist&TimeZone=Asia/Tokyo")
	check(err)
	defer db.Close()
	conn, err := db.Conn(ctx)
	check(err)
	defer conn.Close()
	expected := map[string]string{"TimeZone": "Asia/Tokyo", "DateStyle": "SQL, DMY",
		"search_path": "pg_catalog, public", "application_name": "checklist",
		"statement_timeout": "77s"}
	for _, set := range []string{"DateStyle TO SQL, DMY", "search_path TO pg_catalog, public",
		"statement_timeout TO '77s'"} {
		_, err = conn.ExecContext(ctx, "SET "+set)
		check(err)
	}
	for round := 0; round < 5; round++ {
		for name, value := range expected {
			var got string
			check(conn.QueryRowContext(ctx, "SHOW "+name).Scan(&got))
			same(got, value)
			tx, err := conn.BeginTx(ctx, nil)
			check(err)
			check(tx.QueryRow("SELECT current_setting($1)", name).Scan(&got))
			same(got, value)
			check(tx.Commit())
		}
	}
}

func readOnly(c *client) {
	tx, err := c.conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	check(err)
	var v string
	check(tx.QueryRow("SELECT v FROM " + c.table + " WHERE id = 1").Scan(&v))
	_, err = tx.Exec("DELETE FROM " + c.table)
	raises(err, "25006")
	check(tx.Rollback())
}

func isolation(c *client) {
	for level, name := range map[sql.IsolationLevel]string{
		sql.LevelSerializable: "serializable", sql.LevelRepeatableRead: "repeatable read"} {
		tx, err := c.conn.BeginTx(ctx, &sql.TxOptions{Isolation: level})
		check(err)
		var got string
		check(tx.QueryRow("SHOW transaction_isolation").Scan(&got))
		same(got, name)
		check(tx.Commit())
	}
}

func types(c *client) {
	moment := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	var got time.Time
	check(c.conn.QueryRowContext(ctx, "SELECT $1::timestamptz", moment).Scan(&got))
	same(got.Equal(moment), true)
	var items []string
	check(c.conn.QueryRowContext(ctx, "SELECT $1::text[]", pq.Array([]string{"a,b", `"`})).
		Scan(pq.Array(&items)))
	same(items, []string{"a,b", `"`})
	same(c.one(`SELECT $1::jsonb -> 'a' -> 0`, `{"a": [1]}`), 1)
}

func (c *client) reconnect() {
	conn, err := c.db.Conn(ctx)
	check(err)
	c.conn = conn
}

var checks = []struct {
	name string
	run  func(*client)
}{
	{"setup", setup}, {"simple", simple}, {"transactions", transactions},
	{"prepared_text", preparedText}, {"prepared_binary", preparedBinary},
	{"prepared_many", preparedMany}, {"same_name", sameName}, {"sql_errors", sqlErrors},
	{"copy_in", copyIn}, {"copy_fail", copyFail}, {"cancel", cancel},
	{"large_value", largeValue}, {"large_result", largeResult},
	{"nulls_and_empty", nullsAndEmpty}, {"multi_statement", multiStatement},
	{"notices", notices}, {"settings", settings}, {"read_only", readOnly},
	{"isolation", isolation}, {"types", types},
}

var (
	mutex  sync.Mutex
	passed = map[string]int{}
	failed = 0
)

func (c *client) attempt(name string, run func(*client)) {
	defer func() {
		why := recover()
		mutex.Lock()
		defer mutex.Unlock()
		if why == nil {
			passed[name]++
			return
		}
		failed++
		fmt.Printf("FAIL %s: client %d: %v\n", name, c.number, why)
		if c.conn != nil {
			c.conn.Close()
		}
		c.conn = nil
	}()
	if c.conn == nil {
		c.reconnect()
	}
	run(c)
}

func main() {
	clients, err := strconv.Atoi(os.Args[2])
	check(err)
	var group sync.WaitGroup
	for number := 0; number < clients; number++ {
		db, err := sql.Open("postgres", os.Args[1])
		check(err)
		c := &client{os.Args[1], number, fmt.Sprintf("go_%d", number), db, nil}
		group.Add(1)
		go func() {
			defer group.Done()
			for _, item := range checks {
				c.attempt(item.name, item.run)
			}
			c.attempt("cleanup", func(c *client) { c.exec("DROP TABLE " + c.table) })
		}()
	}
	group.Wait()
	for _, item := range checks {
		if passed[item.name] > 0 {
			fmt.Printf("ok %s (%d clients)\n", item.name, passed[item.name])
		}
	}
	if failed > 0 {
		os.Exit(1)
	}
}
