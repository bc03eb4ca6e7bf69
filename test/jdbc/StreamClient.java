import java.io.StringReader;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.Date;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Savepoint;
import java.sql.Statement;
import java.sql.Timestamp;
import java.sql.Types;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PSQLException;

/**
 * Writes to a stream and reads a continuous view as a Java service does. Arguments: the URL, a
 * name for the settings in it, rounds. Prints one line per check: "ok - name" or
 * "not ok - name".
 */
public final class StreamClient {
    private static final String INSERT =
            "INSERT INTO jdbc_stream (work_date, worker, amount) VALUES (?, ?, ?)";
    private static final String SELECT =
            "SELECT cnt, total FROM jdbc_view WHERE work_date = ? AND worker = ?";
    private static final LocalDate DAY = LocalDate.of(2026, 2, 28);

    private final String url;
    private final String mode;
    private final int rounds;

    private StreamClient(String url, String mode, int rounds) {
        this.url = url;
        this.mode = mode;
        this.rounds = rounds;
    }

    private interface Check {
        void run() throws Exception;
    }

    private synchronized void check(String name, Check check) {
        try {
            check.run();
            System.out.println("ok - " + mode + ": " + name);
        } catch (Exception | AssertionError error) {
            System.out.println("not ok - " + mode + ": " + name);
            System.out.println("# " + String.valueOf(error).replace("\n", "\n# "));
        }
    }

    private static void same(Object expected, Object actual, String what) {
        if (!String.valueOf(expected).equals(String.valueOf(actual))) {
            throw new AssertionError(what + ": " + actual + " instead of " + expected);
        }
    }

    private Connection connect() throws SQLException {
        return DriverManager.getConnection(url);
    }

    /** The worker's name in this run: no two checks share a group. */
    private String worker(String check) {
        return mode + "/" + check;
    }

    private static void bind(PreparedStatement insert, String worker, int amount)
            throws SQLException {
        insert.setObject(1, DAY);
        insert.setString(2, worker);
        insert.setBigDecimal(3, BigDecimal.valueOf(amount));
    }

    private static void write(Connection connection, String worker, int rows)
            throws SQLException {
        try (PreparedStatement insert = connection.prepareStatement(INSERT)) {
            for (int i = 0; i < rows; i++) {
                bind(insert, worker, 1);
                same(1, insert.executeUpdate(), "update count");
            }
        }
    }

    private static void expect(PreparedStatement select, String worker, long rows, long total)
            throws SQLException {
        select.setObject(1, DAY);
        select.setString(2, worker);
        try (ResultSet result = select.executeQuery()) {
            if (rows == 0) {
                same(false, result.next(), "a row for " + worker);
                return;
            }
            same(true, result.next(), "a row for " + worker);
            same(rows, result.getLong(1), "count for " + worker);
            same(total, result.getBigDecimal(2).longValueExact(), "sum for " + worker);
            same(false, result.next(), "a second row for " + worker);
        }
    }

    private static void expect(Connection connection, String worker, long rows)
            throws SQLException {
        try (PreparedStatement select = connection.prepareStatement(SELECT)) {
            expect(select, worker, rows, rows);
        }
    }

    /** The rows of a batch that the driver rewrites have no count of their own. */
    private static void checkCounts(int[] counts, int rows) {
        same(rows, counts.length, "number of update counts");
        for (int count : counts) {
            if (count != 1 && count != Statement.SUCCESS_NO_INFO) {
                throw new AssertionError("update count " + count);
            }
        }
    }

    private void batches(String worker, boolean autocommit) throws SQLException {
        try (Connection connection = connect()) {
            connection.setAutoCommit(autocommit);
            try (PreparedStatement insert = connection.prepareStatement(INSERT);
                    PreparedStatement select = connection.prepareStatement(SELECT)) {
                long rows = 0;
                long total = 0;
                for (int round = 1; round <= rounds; round++) {
                    int size = 1 + round % 9;
                    for (int i = 0; i < size; i++) {
                        bind(insert, worker, round);
                        insert.addBatch();
                        rows++;
                        total += round;
                    }
                    checkCounts(insert.executeBatch(), size);
                    if (!autocommit) {
                        connection.commit();
                    }
                    expect(select, worker, rows, total);
                    if (!autocommit) {
                        connection.commit();
                    }
                }
            }
        }
    }

    private void threads(int count) throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(count);
        try {
            List<Future<?>> running = new ArrayList<>();
            for (int i = 0; i < count; i++) {
                String worker = worker("thread " + i);
                running.add(pool.submit(() -> {
                    batches(worker, true);
                    return null;
                }));
            }
            for (Future<?> thread : running) {
                thread.get();
            }
        } finally {
            pool.shutdownNow();
        }
    }

    private void singleInserts() throws SQLException {
        String worker = worker("single");
        try (Connection connection = connect()) {
            for (int round = 1; round <= rounds; round++) {
                write(connection, worker, 1);
                expect(connection, worker, round);
            }
        }
    }

    private void rollback() throws SQLException {
        String worker = worker("rollback");
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            write(connection, worker, 3);
            expect(connection, worker, 0);
            connection.rollback();
            expect(connection, worker, 0);
            write(connection, worker, 2);
            connection.commit();
            expect(connection, worker, 2);
            write(connection, worker, 5);
            connection.rollback();
            expect(connection, worker, 2);
        }
    }

    private void savepoints() throws SQLException {
        String worker = worker("savepoint");
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            write(connection, worker, 1);
            Savepoint first = connection.setSavepoint();
            write(connection, worker, 10);
            connection.rollback(first);
            Savepoint second = connection.setSavepoint("second");
            write(connection, worker, 2);
            connection.releaseSavepoint(second);
            connection.commit();
            expect(connection, worker, 3);
        }
    }

    private void failedBatch() throws SQLException {
        String worker = worker("failed batch");
        try (Connection connection = connect();
                PreparedStatement insert = connection.prepareStatement(
                        "INSERT INTO jdbc_stream VALUES (?, ?, 10 / ?::int)")) {
            for (int divisor : new int[] {1, 2, 0, 5}) {
                insert.setObject(1, DAY);
                insert.setString(2, worker);
                insert.setInt(3, divisor);
                insert.addBatch();
            }
            try {
                insert.executeBatch();
                throw new AssertionError("the batch did not fail");
            } catch (BatchUpdateException error) {
                same("22012", error.getSQLState(), "state");
            }
            // The driver sends one batch as one transaction, but in simple mode.
            if (!mode.startsWith("simple")) {
                expect(connection, worker, 0);
            }
            String next = worker("after failed batch");
            write(connection, next, 1);
            expect(connection, next, 1);
        }
    }

    private void statements() throws SQLException {
        String worker = worker("statement");
        try (Connection connection = connect();
                Statement statement = connection.createStatement()) {
            String values = "(DATE '" + DAY + "', '" + worker + "', 1)";
            same(3, statement.executeUpdate("INSERT INTO jdbc_stream VALUES " + values + ", "
                    + values + ", " + values), "count of a multi-row INSERT");
            same(4, statement.executeUpdate("INSERT INTO jdbc_stream SELECT DATE '" + DAY
                    + "', '" + worker + "', 1 FROM generate_series(1, 4)"),
                    "count of INSERT SELECT");
            statement.addBatch("INSERT INTO jdbc_stream VALUES " + values);
            statement.addBatch("INSERT INTO jdbc_stream VALUES " + values + ", " + values);
            int[] counts = statement.executeBatch();
            same("1,2", counts[0] + "," + counts[1], "counts of a batch of statements");
            expect(connection, worker, 10);
        }
    }

    private void returning() throws SQLException {
        String worker = worker("returning");
        try (Connection connection = connect()) {
            try (PreparedStatement insert = connection.prepareStatement(
                    INSERT + " RETURNING worker, amount + 1 AS more, arrival_timestamp")) {
                bind(insert, worker, 1);
                try (ResultSet row = insert.executeQuery()) {
                    same(true, row.next(), "a returned row");
                    same(worker, row.getString(1), "returned text");
                    same(2, row.getInt("more"), "returned expression");
                    Timestamp arrival = row.getTimestamp(3);
                    if (Math.abs(arrival.getTime() - System.currentTimeMillis()) > 60_000) {
                        throw new AssertionError("arrival_timestamp is " + arrival);
                    }
                }
            }
            try (PreparedStatement insert =
                    connection.prepareStatement(INSERT, new String[] {"worker"})) {
                bind(insert, worker, 1);
                insert.executeUpdate();
                try (ResultSet keys = insert.getGeneratedKeys()) {
                    same(true, keys.next(), "generated keys");
                    same(worker, keys.getString(1), "generated key");
                }
            }
            expect(connection, worker, 2);
        }
    }

    private void copy() throws Exception {
        String worker = worker("copy");
        try (Connection connection = connect()) {
            CopyManager copy = connection.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder text = new StringBuilder();
            for (int i = 0; i < 5000; i++) {
                text.append(DAY).append('\t').append(worker).append("\t1\n");
            }
            for (int round = 1; round <= 5; round++) {
                same(5000, copy.copyIn("COPY jdbc_stream FROM STDIN",
                        new StringReader(text.toString())), "rows of COPY");
                expect(connection, worker, 5000L * round);
            }
            String csv = "amount,worker,work_date\n1,\"" + worker + "\"," + DAY + "\n";
            same(1, copy.copyIn("COPY jdbc_stream (amount, worker, work_date) FROM STDIN"
                    + " WITH (FORMAT csv, HEADER)", new StringReader(csv)), "rows of CSV");
            expect(connection, worker, 25_001);
            connection.setAutoCommit(false);
            copy.copyIn("COPY jdbc_stream FROM STDIN", new StringReader(text.toString()));
            connection.rollback();
            try {
                copy.copyIn("COPY jdbc_stream FROM STDIN",
                        new StringReader(text + "not a date\t\t1\n"));
                throw new AssertionError("a wrong row was accepted");
            } catch (SQLException error) {
                same("22007", error.getSQLState(), "state");
            }
            connection.rollback();
            expect(connection, worker, 25_001);
        }
    }

    private void types() throws SQLException {
        String worker = worker("Grüße \ud83d\ude00 'quoted'");
        try (Connection connection = connect();
                PreparedStatement insert = connection.prepareStatement(INSERT);
                PreparedStatement select = connection.prepareStatement(
                        "SELECT cnt, total, last FROM jdbc_view WHERE worker = ?"
                        + " AND work_date IS NOT DISTINCT FROM ?")) {
            insert.setNull(1, Types.DATE);
            insert.setString(2, worker);
            insert.setBigDecimal(3, new BigDecimal("12345678901234567890.12345"));
            insert.executeUpdate();
            insert.setDate(1, null);
            insert.setNull(3, Types.NUMERIC);
            insert.executeUpdate();
            select.setString(1, worker);
            select.setDate(2, (Date) null);
            try (ResultSet row = select.executeQuery()) {
                same(true, row.next(), "a row");
                same(2, row.getInt("cnt"), "count");
                same("12345678901234567890.12345", row.getBigDecimal("total"), "sum");
                same(worker.length(), row.getString("last").length(), "length of the text");
                same(worker, new String(row.getBytes("last"), StandardCharsets.UTF_8), "text");
            }
        }
    }

    private void repeatableRead() throws SQLException {
        String worker = worker("repeatable read");
        try (Connection connection = connect()) {
            connection.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
            connection.setAutoCommit(false);
            for (int round = 1; round <= rounds; round++) {
                write(connection, worker, 1);
                connection.commit();
                expect(connection, worker, round);
                connection.commit();
            }
        }
    }

    private void fetchSize() throws SQLException {
        String worker = worker("fetch size");
        try (Connection connection = connect()) {
            write(connection, worker + "x", 1);
            connection.setAutoCommit(false);
            write(connection, worker, 7);
            connection.commit();
            try (PreparedStatement select = connection.prepareStatement(
                    "SELECT worker, cnt FROM jdbc_view WHERE worker IN (?, ?) ORDER BY 1")) {
                select.setFetchSize(1);
                select.setString(1, worker);
                select.setString(2, worker + "x");
                try (ResultSet rows = select.executeQuery()) {
                    rows.next();
                    same(7, rows.getInt(2), "first row");
                    rows.next();
                    same(1, rows.getInt(2), "second row");
                    same(false, rows.next(), "a third row");
                }
            }
        }
    }

    private void refusals() throws SQLException {
        try (Connection connection = connect();
                Statement statement = connection.createStatement()) {
            for (String refused : new String[] {"SELECT * FROM jdbc_stream",
                "DELETE FROM jdbc_stream", "UPDATE jdbc_stream SET amount = 0",
                "TRUNCATE jdbc_stream", "INSERT INTO jdbc_view VALUES (NULL, 'x', 1)"}) {
                try {
                    statement.execute(refused);
                    throw new AssertionError(refused + " was accepted");
                } catch (PSQLException error) {
                    same(false, error.getSQLState().startsWith("XX"), "internal: " + error);
                    if (error.getServerErrorMessage().getHint() == null) {
                        throw new AssertionError(refused + ": no hint in " + error);
                    }
                }
            }
            try (ResultSet columns = connection.getMetaData()
                    .getColumns(null, "public", "jdbc_view", null)) {
                StringBuilder names = new StringBuilder();
                while (columns.next()) {
                    names.append(columns.getString("COLUMN_NAME")).append(' ')
                            .append(columns.getString("TYPE_NAME")).append(';');
                }
                same("work_date date;worker varchar;cnt int8;total numeric;last varchar;", names,
                        "columns");
            }
        }
    }

    private void run() {
        check(rounds + " single INSERTs, each seen by the next SELECT", this::singleInserts);
        check(rounds + " batches, each seen by the next SELECT",
                () -> batches(worker("batch"), true));
        check(rounds + " batches with commit(), each seen by the next SELECT",
                () -> batches(worker("batch and commit"), false));
        check("four threads with batches", () -> threads(4));
        check("rollback()", this::rollback);
        check("setSavepoint()", this::savepoints);
        check("a batch with a row that fails", this::failedBatch);
        check("update counts of plain statements", this::statements);
        check("RETURNING and generated keys", this::returning);
        check("CopyManager", this::copy);
        check("types, NULL and unicode", this::types);
        check("REPEATABLE READ sees own committed rows", this::repeatableRead);
        check("fetch size", this::fetchSize);
        check("refusals and metadata", this::refusals);
    }

    public static void main(String[] arguments) {
        new StreamClient(arguments[0], arguments[1], Integer.parseInt(arguments[2])).run();
    }
}
