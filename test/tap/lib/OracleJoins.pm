# The queries of the oracle test of joins and subqueries: [ name, SELECT with SOURCE for the stream
# or the table that holds the same rows ], and the tables that they read besides.
package OracleJoins;
use strict;
use warnings;
use Exporter qw(import);

our @EXPORT = qw(@join_queries $join_setup);

our $join_setup = <<'SQL';
CREATE TABLE dim (id int PRIMARY KEY, name text, rate numeric, grp int, up int);
INSERT INTO dim SELECT g, 'n' || g % 7, CASE WHEN g % 11 > 0 THEN g % 13 * 0.5 END, g % 5,
    CASE WHEN g % 4 > 0 THEN g / 2 END FROM generate_series(0, 60) g;
CREATE TABLE note (k int, label text);
INSERT INTO note SELECT CASE WHEN g % 6 > 0 THEN g % 40 END, 'l' || g % 9
    FROM generate_series(1, 150) g;
CREATE TABLE "Nat" (k int, g text, weight int);
INSERT INTO "Nat" SELECT g % 30, 'g' || g % 5, g FROM generate_series(1, 100) g;
CREATE TABLE big (id int, grp int, pad text);
INSERT INTO big SELECT g, g % 100, repeat('x', 50) FROM generate_series(1, 20000) g;
CREATE INDEX ON big (id);
CREATE TABLE part (k int, grp int, label text) PARTITION BY RANGE (k);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (MINVALUE) TO (20) PARTITION BY LIST (grp);
CREATE TABLE part_1_1 PARTITION OF part_1 FOR VALUES IN (0, 1);
CREATE TABLE part_1_2 PARTITION OF part_1 DEFAULT;
CREATE TABLE part_2 (label text, grp int, k int);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (20) TO (MAXVALUE);
CREATE INDEX ON part (k);
INSERT INTO part SELECT g % 45, g % 3, 'p' || g % 4 FROM generate_series(1, 120) g;
CREATE TABLE base (k int, v int);
CREATE TABLE heir (more text) INHERITS (base);
INSERT INTO base SELECT g, g * 2 FROM generate_series(1, 20) g;
INSERT INTO heir SELECT g, g * 3, 'm' FROM generate_series(10, 30) g;
CREATE TABLE nothing (k int, label text);
CREATE TABLE span (lo int, hi int, label text);
INSERT INTO span VALUES (0, 9, 'low'), (10, 29, 'middle'), (25, 49, 'high'), (NULL, 3, 'open');
CREATE VIEW named AS SELECT id, upper(name) AS name, rate FROM dim WHERE rate IS NOT NULL;
CREATE VIEW counted AS SELECT k, count(*) AS labels, max(label) AS top FROM note GROUP BY k;
CREATE MATERIALIZED VIEW mat AS SELECT grp, sum(rate) AS rates FROM dim GROUP BY grp;
CREATE FOREIGN TABLE other (k int, v int) SERVER pipelinedb;
CREATE VIEW other_view AS SELECT k, count(*) AS n, avg(v) AS mean FROM other GROUP BY k;
INSERT INTO other SELECT g % 25, g FROM generate_series(1, 100) g;
CREATE FUNCTION rate_of(int) RETURNS numeric STABLE LANGUAGE plpgsql
    AS 'BEGIN RETURN (SELECT rate FROM work.dim WHERE id = $1); END';
CREATE FUNCTION labels_of(int) RETURNS SETOF text STABLE LANGUAGE sql
    AS 'SELECT label FROM note WHERE k = $1';
SQL

our @join_queries = (
    # inner joins
    [ inner_key => 'SELECT name, count(*), sum(n), sum(n * rate) AS w FROM SOURCE JOIN dim ON dim.id = k GROUP BY name' ],
    [ inner_many => 'SELECT label, count(*), sum(n) FROM SOURCE s JOIN note ON note.k = s.k GROUP BY label' ],
    [ inner_no_key => 'SELECT count(*), sum(rate), max(name COLLATE "C") FROM SOURCE s JOIN dim ON dim.id = s.k AND dim.grp = 1' ],
    [ inner_using => 'SELECT k, label, count(*) FROM SOURCE JOIN note USING (k) GROUP BY k, label' ],
    [ inner_using_mixed => 'SELECT s.k, max(label COLLATE "C"), sum(k) AS ks FROM note JOIN SOURCE s USING (k) GROUP BY note.k, s.k' ],
    [ inner_natural => 'SELECT k, g, sum(weight), sum(n) AS n FROM SOURCE NATURAL JOIN "Nat" GROUP BY k, g' ],
    [ inner_expression => 'SELECT dim.grp, count(*) FROM SOURCE s JOIN dim ON dim.id = s.k % 10 + 1 AND upper(dim.name) <> upper(s.g) GROUP BY dim.grp' ],
    [ inner_range => 'SELECT span.label, count(*), sum(n) FROM SOURCE s JOIN span ON s.k BETWEEN span.lo AND span.hi GROUP BY 1' ],
    [ inner_big => 'SELECT big.grp, count(*) FROM SOURCE s JOIN big ON big.id = s.id GROUP BY big.grp' ],
    [ inner_big_large => 'SELECT big.grp % 3 AS g3, count(*), sum(length(pad)) AS l FROM SOURCE s JOIN big ON big.id = s.k * 37 GROUP BY 1' ],
    [ inner_three => 'SELECT note.label, d2.name, count(*) FROM SOURCE s JOIN dim d1 ON d1.id = s.k JOIN dim d2 ON d2.id = d1.up JOIN note ON note.k = d2.id GROUP BY 1, 2' ],
    [ comma => 'SELECT dim.name, count(*), sum(s.n) FROM dim, SOURCE s, note WHERE dim.id = s.k AND note.k = dim.up GROUP BY dim.name' ],
    [ cross_join => 'SELECT span.label, s.g, count(*) FROM SOURCE s CROSS JOIN span GROUP BY 1, 2' ],
    [ no_match => 'SELECT label, count(*) FROM SOURCE s JOIN nothing USING (k) GROUP BY label' ],
    [ no_match_no_key => 'SELECT count(*), sum(n) FROM SOURCE s JOIN nothing USING (k)' ],
    [ whole_row => 'SELECT count(dim) AS c, count(dim.*) AS d, max(dim::text COLLATE "C") AS m FROM SOURCE s LEFT JOIN dim ON dim.id = s.k' ],
    [ system_column => 'SELECT note.tableoid::regclass::text AS t, count(note.ctid) AS c FROM SOURCE s JOIN note USING (k) GROUP BY 1' ],

    # outer joins
    [ left_key => 'SELECT dim.name, count(*), count(dim.id) AS found, sum(rate) FROM SOURCE s LEFT JOIN dim ON dim.id = s.k GROUP BY dim.name' ],
    [ left_condition => 'SELECT s.g, count(label) AS found, count(*) FROM SOURCE s LEFT JOIN note ON note.k = s.k AND s.n > 50 GROUP BY s.g' ],
    [ left_where_null => 'SELECT s.g, count(*) FROM SOURCE s LEFT JOIN note USING (k) WHERE note.k IS NULL GROUP BY s.g' ],
    [ left_nothing => 'SELECT label, count(*) FROM SOURCE s LEFT JOIN nothing USING (k) GROUP BY label' ],
    [ right_stream => 'SELECT coalesce(label, \'none\') AS label, count(*), sum(n) FROM note RIGHT JOIN SOURCE s USING (k) GROUP BY 1' ],
    [ left_chain => 'SELECT d2.name, note.label, count(*) FROM SOURCE s LEFT JOIN dim d1 ON d1.id = s.k LEFT JOIN dim d2 ON d2.id = d1.up LEFT JOIN note ON note.k = d2.id AND note.label > \'l3\' GROUP BY 1, 2' ],
    [ left_of_full => 'SELECT k, count(*), count(label) AS l, count(v) AS v FROM SOURCE s LEFT JOIN (note FULL JOIN base USING (k)) x USING (k) GROUP BY k' ],
    [ left_unused => 'SELECT s.g, count(*) FROM SOURCE s LEFT JOIN dim ON dim.id = s.k GROUP BY s.g' ],

    # kinds of relations
    [ of_view => 'SELECT v.name, count(*), sum(rate) FROM SOURCE s JOIN named v ON v.id = s.k GROUP BY 1' ],
    [ of_aggregate_view => 'SELECT c.labels, max(top COLLATE "C"), count(*) FROM SOURCE s LEFT JOIN counted c USING (k) GROUP BY 1' ],
    [ of_matview => 'SELECT rates, count(*) FROM SOURCE s JOIN mat ON mat.grp = s.k % 5 GROUP BY 1' ],
    [ of_continuous_view => 'SELECT v.n AS c, sum(mean) AS m, count(*) FROM SOURCE s JOIN other_view v USING (k) GROUP BY 1' ],
    [ of_partitions => 'SELECT label, grp, count(*) FROM SOURCE s LEFT JOIN part USING (k) GROUP BY 1, 2' ],
    [ of_one_partition => 'SELECT label, count(*) FROM SOURCE s JOIN part USING (k) WHERE part.k > 25 AND grp = 1 GROUP BY 1' ],
    [ of_heirs => 'SELECT v, count(*) FROM SOURCE s JOIN base USING (k) GROUP BY v' ],
    [ of_only => 'SELECT v, count(*) FROM SOURCE s JOIN ONLY base USING (k) GROUP BY v' ],
    [ of_catalog => 'SELECT typname::text AS t, count(*) FROM SOURCE s JOIN pg_type ON pg_type.oid = (s.k + 15)::oid GROUP BY 1' ],
    [ of_values => 'SELECT x.word, count(*) FROM SOURCE s JOIN (VALUES (1, \'one\'), (2, \'two\'), (2, \'zwei\')) x (k, word) USING (k) GROUP BY 1' ],

    # functions in FROM
    [ unnest_array => 'SELECT x, count(*), sum(n) FROM SOURCE s, unnest(s.ia) x GROUP BY x' ],
    [ unnest_left => 'SELECT x, count(*) FROM SOURCE s LEFT JOIN LATERAL unnest(s.ia) WITH ORDINALITY u (x, o) ON o > 1 GROUP BY x' ],
    [ series => 'SELECT x % 3 AS m, count(*) FROM SOURCE s, generate_series(1, s.k % 4) x GROUP BY 1' ],
    [ of_function => 'SELECT l, count(*) FROM SOURCE s, labels_of(s.k) l GROUP BY l' ],
    [ json_keys => 'SELECT key, count(*), count(value) AS v FROM SOURCE s, jsonb_each(s.j) GROUP BY key' ],

    # LATERAL
    [ lateral_top => 'SELECT t.label, count(*) FROM SOURCE s, LATERAL (SELECT label FROM note WHERE note.k = s.k ORDER BY label DESC LIMIT 1) t GROUP BY 1' ],
    [ lateral_count => 'SELECT c.c, c.m, count(*) FROM SOURCE s LEFT JOIN LATERAL (SELECT count(*) AS c, min(label) AS m FROM note WHERE note.k = s.k AND s.n > 20) c ON true GROUP BY 1, 2' ],
    [ lateral_window => 'SELECT r.place, count(*), sum(r.rate) FROM SOURCE s, LATERAL (SELECT rate, rank() OVER (ORDER BY rate, id) AS place FROM dim WHERE grp = s.k % 5) r GROUP BY 1' ],
    [ lateral_stream => 'SELECT x.sum, count(*) FROM dim, LATERAL (SELECT s.k + dim.id AS sum FROM SOURCE s WHERE s.k = dim.id) x GROUP BY 1' ],
    [ lateral_placeholder => 'SELECT x.word, count(*) FROM dim JOIN LATERAL (SELECT coalesce(s.g, dim.name) AS word, s.k FROM SOURCE s LEFT JOIN note USING (k)) x ON x.k = dim.id GROUP BY 1' ],

    # subqueries in FROM
    [ sub_projected => 'SELECT double, count(*) FROM (SELECT k * 2 AS double, n FROM SOURCE s WHERE n > 10) x GROUP BY 1' ],
    [ sub_nested => 'SELECT z, sum(y) FROM (SELECT x + 1 AS z, y FROM (SELECT k % 7 AS x, n AS y FROM SOURCE s WHERE k IS NOT NULL) a WHERE x > 1) b GROUP BY z' ],
    [ sub_join_inside => 'SELECT name, label, count(*) FROM (SELECT dim.name, s.k, s.n FROM SOURCE s LEFT JOIN dim ON dim.id = s.k) x JOIN note USING (k) GROUP BY 1, 2' ],
    [ sub_left_outside => 'SELECT word, count(*), count(label) AS l FROM (SELECT k, coalesce(g, \'?\') AS word FROM SOURCE s) x LEFT JOIN note ON note.k = x.k AND word <> \'?\' GROUP BY 1' ],
    [ sub_tables_only => 'SELECT t.grp, t.c, count(*) FROM SOURCE s JOIN (SELECT grp, count(*) AS c FROM dim GROUP BY grp HAVING count(*) > 1 ORDER BY 1 LIMIT 4) t ON t.grp = s.k % 6 GROUP BY 1, 2' ],
    [ sub_tables_union => 'SELECT t.kind, count(*) FROM SOURCE s JOIN (WITH w AS (SELECT k FROM note) SELECT DISTINCT k, \'note\' AS kind FROM w UNION ALL SELECT id, \'dim\' FROM dim) t USING (k) GROUP BY 1' ],
    [ sub_whole_row => 'SELECT count(x) AS c, max(x.y) AS y FROM (SELECT k AS y FROM SOURCE s) x' ],

    # subqueries in expressions
    [ in_table => 'SELECT s.g, count(*) FROM SOURCE s WHERE k IN (SELECT id FROM dim WHERE grp = 2) GROUP BY s.g' ],
    [ in_row => 'SELECT s.g, count(*) FROM SOURCE s WHERE (k, g) IN (SELECT k, g FROM "Nat") GROUP BY s.g' ],
    [ not_in => 'SELECT s.g, count(*) FROM SOURCE s WHERE k NOT IN (SELECT id FROM dim WHERE grp = 2) GROUP BY s.g' ],
    [ not_in_null => 'SELECT s.g, count(*) FROM SOURCE s WHERE k NOT IN (SELECT k FROM note) GROUP BY s.g' ],
    [ exists_table => 'SELECT s.g, count(*), sum(n) FROM SOURCE s WHERE EXISTS (SELECT FROM note WHERE note.k = s.k AND label > \'l4\') GROUP BY s.g' ],
    [ not_exists => 'SELECT s.g, count(*), sum(n) FROM SOURCE s WHERE NOT EXISTS (SELECT FROM note WHERE note.k = s.k AND s.n > 30) GROUP BY s.g' ],
    [ exists_or => 'SELECT count(*) FROM SOURCE s WHERE EXISTS (SELECT FROM note WHERE note.k = s.k) OR k > 45 OR n > ALL (SELECT rate FROM dim WHERE rate IS NOT NULL AND dim.id > s.k)' ],
    [ any_array => 'SELECT s.g, count(*) FROM SOURCE s WHERE k = ANY (ARRAY(SELECT up FROM dim)) GROUP BY s.g' ],
    [ scalar_key => 'SELECT (SELECT name FROM dim WHERE id = k) AS name, count(*) FROM SOURCE s GROUP BY 1' ],
    [ scalar_hidden_key => 'SELECT count(*), sum(n) FROM SOURCE s GROUP BY (SELECT grp FROM dim WHERE id = k), g' ],
    [ scalar_argument => 'SELECT s.g, sum(n * (SELECT rate FROM dim WHERE id = s.k)) AS w, count((SELECT max(label) FROM note WHERE note.k = s.k)) AS l FROM SOURCE s GROUP BY s.g' ],
    [ scalar_filter => 'SELECT s.g, count(*) FILTER (WHERE EXISTS (SELECT FROM note WHERE note.k = s.k)) AS noted, sum(n) FILTER (WHERE n > (SELECT avg(rate) FROM dim)) AS rich FROM SOURCE s GROUP BY s.g' ],
    [ scalar_on => 'SELECT s.g, count(label) AS l FROM SOURCE s LEFT JOIN note ON note.k = s.k AND s.n > (SELECT avg(rate) FROM dim WHERE grp = note.k % 5) GROUP BY s.g' ],
    [ scalar_read => 'SELECT s.k, count(*), (SELECT name FROM dim WHERE id = s.k) AS name, avg(n) > (SELECT avg(rate) FROM dim WHERE id < avg(s.n)) AS above, (SELECT max(label) FROM note) AS top FROM SOURCE s GROUP BY s.k' ],
    [ scalar_both => 'SELECT (SELECT grp FROM dim WHERE id = s.k) AS grp, sum(n) + (SELECT sum(rate) FROM dim) AS plus, CASE WHEN count(*) > 5 THEN (SELECT count(*) FROM note) END AS notes FROM SOURCE s GROUP BY 1' ],

    # other shapes of groups
    [ append => 'SELECT s.id, name, n * rate AS w, (SELECT count(*) FROM note WHERE note.k = s.k) AS notes FROM SOURCE s LEFT JOIN dim ON dim.id = s.k WHERE s.k NOT IN (SELECT grp FROM dim)' ],
    [ distinct => 'SELECT DISTINCT name, label FROM SOURCE s JOIN dim ON dim.id = s.k LEFT JOIN note USING (k)' ],
    [ cube => 'SELECT name, s.g, GROUPING(name, s.g) AS level, count(*), sum(rate) FROM SOURCE s LEFT JOIN dim ON dim.id = s.k GROUP BY CUBE (name, s.g)' ],
    [ rollup_scalar => 'SELECT (SELECT grp FROM dim WHERE id = s.k) AS grp, count(*) FROM SOURCE s GROUP BY ROLLUP ((SELECT grp FROM dim WHERE id = s.k))' ],
    [ function_reads => 'SELECT rate_of(k) AS rate, count(*) FROM SOURCE s WHERE rate_of(k + 1) IS NOT NULL GROUP BY 1' ],
);

1;
