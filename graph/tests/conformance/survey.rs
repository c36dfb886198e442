//! What people type in Cypher, feature by feature, asked of both stores: what works alike, what differs, what the
//! embedded store refuses and with which words. `docs/cypher.md` is made from this run, and must be what it says.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use tapio_core::ports::{Cell, GraphStore, Limits, Rows, StoreError};
use tapio_core::time::MINUTE;

use crate::cases::{noon, text, try_ask};

/// Area, and in it features with a question each.
type Area = (&'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const AREAS: &[Area] = &[
    ("Patterns", &[
        ("label", "MATCH (p:Pod) RETURN p.uid"),
        ("no label", "MATCH (n) RETURN count(n)"),
        ("several labels", "MATCH (e:Event:Change) RETURN e.id"),
        ("label expression `A|B`", "MATCH (n:Pod|Node) RETURN count(n)"),
        ("label expression `!A`", "MATCH (n:!Event) RETURN count(n)"),
        ("label expression `A&B`", "MATCH (n:Event&Change) RETURN n.id"),
        ("properties in the pattern", "MATCH (p:Pod {name: 'web-3', ready: true}) RETURN p.uid"),
        ("`WHERE` in a node", "MATCH (p:Pod WHERE p.ready) RETURN p.uid"),
        ("`WHERE` in a relation", "MATCH (:Event)-[t:TRIGGERED WHERE t.confidence > 0.1]->(b) RETURN b.id"),
        ("relation types `A|B`", "MATCH (e:Event {id: 'e0'})-[r:AFFECTS|TRIGGERED]->(n) RETURN type(r), labels(n)"),
        ("relation types `A|:B`", "MATCH (e:Event {id: 'e0'})-[r:AFFECTS|:TRIGGERED]->(n) RETURN type(r)"),
        ("either direction", "MATCH (e:Event {id: 'e1'})-[:TRIGGERED]-(o) RETURN o.id"),
        ("any relation", "MATCH (e:Event {id: 'e0'})-->(n) RETURN labels(n)"),
        ("two patterns joined by a node", "MATCH (e:Event)-[:TRIGGERED]->(b), (b)-[:AFFECTS]->(p:Pod) RETURN e.id, p.uid"),
        ("cross product", "MATCH (a:Node), (b:Node) RETURN count(*)"),
        ("a relation is walked once a pattern", "MATCH (p:Pod {uid: 'p1'})-[:RUNS_ON]->(n)<-[:RUNS_ON]-(q) RETURN count(q)"),
        ("variable length `*1..3`", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED*1..3]->(b) RETURN b.id"),
        ("variable length `*2`", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED*2]->(b) RETURN b.id"),
        ("variable length `*0..1`", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED*0..1]->(b) RETURN b.id"),
        ("variable length `*`, up to 30 steps", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED*]->(b) RETURN count(b)"),
        ("variable length `*`, beyond 30 steps", "MATCH (a:Event {id: 'd0'})-[:TRIGGERED*]->(b) RETURN count(b)"),
        ("variable length, backwards", "MATCH (a:Event {id: 'c5'})<-[:TRIGGERED*..3]-(b) RETURN b.id"),
        ("variable length with a list of relations", "MATCH (a:Event {id: 'c0'})-[r:TRIGGERED*1..3]->(b) RETURN b.id, size(r)"),
        ("variable length with properties", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED*1..2 {via: 'x'}]->(b) RETURN b.id"),
        ("quantified relation `-[:R]->{1,3}`", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED]->{1,3}(b) RETURN b.id"),
        ("quantified relation `-[:R]->+`", "MATCH (a:Event {id: 'c0'})-[:TRIGGERED]->+(b) RETURN count(b)"),
        ("quantified path `((a)-->(b)){1,3}`", "MATCH (s:Event {id: 'c0'}) ((a)-[:TRIGGERED]->(b)){1,3} (t) RETURN t.id"),
        ("named path", "MATCH q = (a:Event {id: 'c0'})-[:TRIGGERED*1..2]->(b) RETURN length(q), b.id"),
        ("`nodes(path)`", "MATCH q = (a:Event {id: 'c0'})-[:TRIGGERED*2]->(b) RETURN [n IN nodes(q) | n.id] AS ids"),
        ("`relationships(path)`", "MATCH q = (a:Event {id: 'c0'})-[:TRIGGERED*2]->(b) RETURN size(relationships(q))"),
        ("`shortestPath`", "MATCH q = shortestPath((a:Event {id: 'c0'})-[:TRIGGERED*..9]->(b:Event {id: 'c4'})) RETURN length(q)"),
        ("`allShortestPaths`", "MATCH q = allShortestPaths((a:Event {id: 'c0'})-[:TRIGGERED*..9]->(b:Event {id: 'c4'})) RETURN length(q)"),
        ("`SHORTEST 1`", "MATCH q = SHORTEST 1 (a:Event {id: 'c0'})-[:TRIGGERED]->+(b:Event {id: 'c4'}) RETURN length(q)"),
        ("anonymous nodes", "MATCH (:Pod)-[:RUNS_ON]->(n:Node) RETURN DISTINCT n.uid"),
    ]),
    ("Clauses", &[
        ("`OPTIONAL MATCH`", "MATCH (e:Event) WHERE e.id IN ['e0', 'e2'] OPTIONAL MATCH (e)-[:TRIGGERED]->(b) RETURN e.id, b.id"),
        ("`OPTIONAL MATCH` with `WHERE`", "MATCH (p:Pod {uid: 'p1'}) OPTIONAL MATCH (p)-[:RUNS_ON]->(n) WHERE n.uid = 'nope' RETURN p.uid, n.uid"),
        ("`OPTIONAL MATCH` first", "OPTIONAL MATCH (n:Nothing) RETURN n"),
        ("`WITH`", "MATCH (p:Pod) WITH p.ready AS ready, count(*) AS n WHERE n > 1 RETURN ready, n"),
        ("`WITH *`", "MATCH (p:Pod {uid: 'p1'}) WITH *, 1 AS one RETURN p.uid, one"),
        ("`WITH DISTINCT`", "MATCH (p:Pod) WITH DISTINCT p.ready AS ready RETURN ready"),
        ("`WITH … ORDER BY … LIMIT`", "MATCH (p:Pod) WITH p ORDER BY p.uid LIMIT 3 RETURN collect(p.uid)"),
        ("`UNWIND`", "UNWIND [3, 1, 2] AS x RETURN x"),
        ("`UNWIND` of a parameter", "UNWIND $list AS x RETURN x"),
        ("`UNWIND` of nothing", "UNWIND [] AS x RETURN x"),
        ("`UNWIND` of maps", "UNWIND [{a: 1}, {a: 2}] AS m RETURN m.a"),
        ("`UNWIND` and `MATCH`", "UNWIND ['p1', 'p2'] AS u MATCH (p:Pod {uid: u}) RETURN p.name"),
        ("`RETURN *`", "MATCH (p:Pod {uid: 'p1'})-[:RUNS_ON]->(n) RETURN *"),
        ("`RETURN DISTINCT`", "MATCH (p:Pod) RETURN DISTINCT p.ready"),
        ("`ORDER BY` of two, `DESC`", "MATCH (p:Pod) RETURN p.ready AS r, p.uid AS u ORDER BY r DESC, u LIMIT 5"),
        ("`ORDER BY` of what is not returned", "MATCH (p:Pod) RETURN p.name ORDER BY p.uid LIMIT 3"),
        ("`ORDER BY` with nothing in between", "MATCH (e:Event) WHERE e.id STARTS WITH 'e1' RETURN e.message AS m, e.id AS i ORDER BY m, i LIMIT 3"),
        ("`SKIP` and `LIMIT`", "MATCH (p:Pod) RETURN p.uid ORDER BY p.uid SKIP 3 LIMIT 2"),
        ("`OFFSET`", "MATCH (p:Pod) RETURN p.uid ORDER BY p.uid OFFSET 3 LIMIT 2"),
        ("`LIMIT` of a parameter", "MATCH (p:Pod) RETURN p.uid ORDER BY p.uid LIMIT $n"),
        ("`LIMIT` of an expression", "MATCH (p:Pod) RETURN p.uid ORDER BY p.uid LIMIT 1 + 1"),
        ("`UNION`", "MATCH (n:Node) RETURN n.uid AS u UNION MATCH (n:Node) RETURN n.uid AS u"),
        ("`UNION ALL`", "MATCH (n:Node) RETURN n.uid AS u UNION ALL MATCH (n:Node) RETURN n.uid AS u"),
        ("`CALL { … }` with a column", "MATCH (n:Node) CALL { WITH n MATCH (p:Pod)-[:RUNS_ON]->(n) RETURN count(p) AS c } RETURN n.uid, c"),
        ("`CALL (n) { … }`", "MATCH (n:Node) CALL (n) { MATCH (p:Pod)-[:RUNS_ON]->(n) RETURN count(p) AS c } RETURN n.uid, c"),
        ("`EXISTS { pattern }`", "MATCH (e:Event) WHERE EXISTS { (e)-[:TRIGGERED]->() } RETURN count(e)"),
        ("`EXISTS { MATCH … WHERE … }`", "MATCH (e:Event) WHERE EXISTS { MATCH (e)-[:AFFECTS]->(p:Pod) WHERE p.ready } RETURN count(e)"),
        ("`EXISTS { … RETURN }`", "MATCH (e:Event) WHERE EXISTS { MATCH (e)-[:TRIGGERED]->(b) RETURN b } RETURN count(e)"),
        ("`NOT EXISTS { … }`", "MATCH (e:Event) WHERE NOT EXISTS { (e)-[:TRIGGERED]->() } RETURN count(e)"),
        ("`COUNT { … }`", "MATCH (n:Node) RETURN n.uid, COUNT { (n)<-[:RUNS_ON]-() } AS pods"),
        ("`COUNT { … }` in `WHERE`", "MATCH (n:Node) WHERE COUNT { (n)<-[:RUNS_ON]-(:Pod) } > 1 RETURN n.uid"),
        ("`COLLECT { … }`", "MATCH (n:Node {uid: 'n1'}) RETURN COLLECT { MATCH (n)<-[:RUNS_ON]-(p:Pod) RETURN p.uid ORDER BY p.uid } AS pods"),
        ("pattern in `WHERE`", "MATCH (e:Event) WHERE (e)-[:TRIGGERED]->() RETURN count(e)"),
        ("`exists(pattern)`", "MATCH (e:Event) WHERE exists((e)-[:TRIGGERED]->()) RETURN count(e)"),
        ("`size(pattern comprehension)`", "MATCH (n:Node) RETURN n.uid, size([(n)<-[:RUNS_ON]-(p) | p.uid]) AS pods"),
        ("comments", "MATCH (p:Pod) // all\nRETURN /* how many */ count(p)"),
        ("`USING INDEX`", "MATCH (p:Pod) USING INDEX p:Pod(name) WHERE p.name = 'web-3' RETURN p.uid"),
        ("`EXPLAIN`", "EXPLAIN MATCH (p:Pod) RETURN p.uid"),
        ("`FINISH`", "MATCH (p:Pod) FINISH"),
        ("`LET`", "MATCH (p:Pod {uid: 'p1'}) LET x = p.name RETURN x"),
    ]),
    ("Filters and operators", &[
        ("`=`, `<>`, `<`, `>=`", "MATCH (e:Event) WHERE e.id <> 'e1' AND e.ts_ms >= 1705319999990 AND e.id > 'e2' AND e.id <= 'e5' RETURN count(e)"),
        ("chain `a < b < c`", "UNWIND [1, 2, 3, 4] AS x WITH x WHERE 1 < x < 4 RETURN x"),
        ("`AND`, `OR`, `XOR`, `NOT`", "UNWIND [true, false] AS a UNWIND [true, false] AS b RETURN a, b, a AND b, a OR b, a XOR b, NOT a"),
        ("`IN`", "MATCH (p:Pod) WHERE p.uid IN ['p1', 'real'] RETURN p.name"),
        ("`IN` with null", "RETURN 1 IN [2, null] AS a, 1 IN [1, null] AS b, null IN [1] AS c"),
        ("`IS NULL`, `IS NOT NULL`", "MATCH (e:Event) WHERE e.message IS NULL AND e.id IS NOT NULL RETURN count(e)"),
        ("`STARTS WITH`, `ENDS WITH`, `CONTAINS`", "MATCH (p:Pod) WHERE p.name STARTS WITH 'web' AND p.name ENDS WITH '3' AND p.name CONTAINS '-1' RETURN p.uid"),
        ("`=~`", "MATCH (p:Pod) WHERE p.name =~ 'web-[1-3]' RETURN p.name"),
        ("`=~` with `(?i)`", "MATCH (p:Pod) WHERE p.name =~ '(?i)WEB-1' RETURN p.name"),
        ("label in `WHERE`", "MATCH (n) WHERE n:Pod RETURN count(n)"),
        ("label in `WHERE`, `A|B`", "MATCH (n) WHERE n:Pod|Node RETURN count(n)"),
        ("`IS :: type`", "UNWIND [1, 'a'] AS x RETURN x IS :: INTEGER AS i"),
        ("`+ - * / % ^`", "RETURN 7 + 2, 7 - 2, 7 * 2, 7 / 2, 7 % 2, 2 ^ 3, -7 / 2, 7.0 / 2"),
        ("division by zero", "RETURN 1.0 / 0.0 AS inf"),
        ("whole division by zero", "RETURN 1 / 0 AS x"),
        ("overflow", "RETURN 9223372036854775807 + 1 AS x"),
        ("text `+`", "RETURN 'a' + 'b', 'a' + 1, 1 + 'a'"),
        ("text `||`", "RETURN 'a' || 'b' AS x"),
        ("list `+`", "RETURN [1] + [2, 3] AS a, [1] + 2 AS b"),
        ("null in arithmetic", "RETURN null + 1 AS a, null = null AS b, null <> 1 AS c"),
        ("numbers of two types", "RETURN 1 = 1.0 AS a, 1 < 1.5 AS b, 2 > 1.9 AS c"),
        ("comparing text and number", "RETURN 'a' = 1 AS a, 'a' < 1 AS b"),
        ("`CASE WHEN`", "MATCH (p:Pod) WHERE p.uid < 'p13' RETURN p.uid, CASE WHEN p.ready THEN 'up' ELSE 'down' END AS state"),
        ("a pattern in `CASE`", "MATCH (n:Node) RETURN n.uid, CASE WHEN EXISTS { (n)<-[:RUNS_ON]-() } THEN 1 ELSE 0 END AS used"),
        ("a column called like a word of the language", "MATCH (p:Pod) RETURN collect(p.uid) AS all"),
        ("`CASE x WHEN`", "UNWIND [1, 2, 3] AS x RETURN CASE x WHEN 1 THEN 'one' WHEN 2 THEN 'two' END AS w"),
        ("`CASE x WHEN a, b`", "UNWIND [1, 2, 3] AS x RETURN CASE x WHEN 1, 2 THEN 'few' ELSE 'many' END AS w"),
        ("`CASE x WHEN > 1`", "UNWIND [1, 2, 3] AS x RETURN CASE x WHEN > 1 THEN 'many' ELSE 'one' END AS w"),
        ("map access", "WITH {a: {b: 1}} AS m RETURN m.a.b AS x, m['a'] AS y, m.none AS z"),
        ("property by name", "MATCH (p:Pod {uid: 'p1'}) RETURN p['name'] AS n"),
        ("map projection `n {.a, .b}`", "MATCH (p:Pod {uid: 'p1'}) RETURN p {.name, .ready} AS m"),
        ("map projection `n {.*, x: 1}`", "MATCH (p:Pod {uid: 'p1'}) RETURN p {.*, x: 1} AS m"),
        ("hexadecimal and octal numbers", "RETURN 0xff AS h, 0o17 AS o"),
        ("`1_000`", "RETURN 1_000 AS x"),
        ("escapes in texts", "RETURN 'a\\'b\\n\\u0041' AS x, \"it's\" AS y"),
    ]),
    ("Aggregations", &[
        ("`count(*)`, `count(x)`, `count(DISTINCT x)`", "MATCH (p:Pod) RETURN count(*), count(p.ready), count(DISTINCT p.ready)"),
        ("of nothing", "MATCH (n:Nothing) RETURN count(n), collect(n), sum(n.x), min(n.x), avg(n.x)"),
        ("`sum`, `avg`, `min`, `max`", "UNWIND [1, 2, 3, null] AS x RETURN sum(x), avg(x), min(x), max(x)"),
        ("`sum` and `avg` of numbers with a point", "UNWIND [1.5, 2.5] AS x RETURN sum(x), avg(x)"),
        ("`min` and `max` of texts", "MATCH (p:Pod) RETURN min(p.name), max(p.name)"),
        ("`min` and `max` of times", "MATCH (e:Event) WHERE e.id STARTS WITH 'e' RETURN min(e.timestamp), max(e.timestamp)"),
        ("`collect`", "MATCH (n:Node) WITH n ORDER BY n.uid RETURN collect(n.uid)"),
        ("`collect(DISTINCT x)`", "UNWIND [2, 1, 2] AS x RETURN size(collect(DISTINCT x))"),
        ("`stDev`, `stDevP`", "UNWIND [1, 2, 4] AS x RETURN stDev(x), stDevP(x)"),
        ("`percentileCont`", "UNWIND [1, 2, 3, 4] AS x RETURN percentileCont(x, 0.5)"),
        ("`percentileDisc`", "UNWIND [1, 2, 3, 4] AS x RETURN percentileDisc(x, 0.5)"),
        ("in an expression", "MATCH (p:Pod) RETURN count(p) * 2 + 1 AS x"),
        ("grouped by an expression", "MATCH (p:Pod) RETURN p.ready AS r, count(*) AS n"),
        ("grouped by a node", "MATCH (p:Pod)-[:RUNS_ON]->(n:Node) WITH n, count(p) AS c RETURN n.uid, c"),
        ("in `ORDER BY`", "MATCH (p:Pod)-[:RUNS_ON]->(n) RETURN n.uid AS u ORDER BY count(p) DESC, u LIMIT 2"),
        ("after an aggregation", "MATCH (p:Pod)-[:RUNS_ON]->(n) WITH n, count(p) AS c RETURN max(c), avg(c)"),
        ("`DISTINCT` in `sum`", "UNWIND [1, 1, 2] AS x RETURN sum(DISTINCT x)"),
    ]),
    ("Lists", &[
        ("literal and index", "WITH [1, 2, 3] AS l RETURN l[0], l[-1], l[9]"),
        ("slice", "WITH [1, 2, 3, 4] AS l RETURN l[1..3] AS a, l[..2] AS b, l[2..] AS c, l[-2..] AS d"),
        ("comprehension", "RETURN [x IN range(1, 5) WHERE x % 2 = 1 | x * x] AS l"),
        ("pattern comprehension", "MATCH (n:Node {uid: 'n1'}) RETURN size([(n)<-[:RUNS_ON]-(p:Pod) WHERE p.ready | p.uid]) AS l"),
        ("`size`", "RETURN size([1, 2]), size([]), size('abc')"),
        ("`head`, `last`, `tail`", "WITH [1, 2, 3] AS l RETURN head(l), last(l), tail(l), head([])"),
        ("`reverse`", "RETURN reverse([1, 2, 3]) AS l, reverse('abc') AS t"),
        ("`range`", "RETURN range(0, 3) AS a, range(0, 10, 5) AS b, range(3, 1, -1) AS c"),
        ("`reduce`", "RETURN reduce(sum = 0, x IN [1, 2, 3] | sum + x) AS s"),
        ("`all`, `any`, `none`, `single`", "WITH [1, 2, 3] AS l RETURN all(x IN l WHERE x > 0), any(x IN l WHERE x > 2), none(x IN l WHERE x > 3), single(x IN l WHERE x = 1)"),
        ("`isEmpty`", "RETURN isEmpty([]) AS a, isEmpty('') AS b, isEmpty({}) AS c"),
        ("`toStringList`, `toIntegerList`", "RETURN toStringList([1, 2]) AS a, toIntegerList(['1', 'x']) AS b"),
        ("of lists", "RETURN [[1, 2], [3]][0][1] AS x"),
        ("equal", "RETURN [1, 2] = [1, 2] AS a, [1, null] = [1, null] AS b"),
        ("a list property", "MATCH (n:Node {uid: 'n1'}) RETURN n.taints, size(n.taints), n.taints[0], 'b' IN n.taints"),
        ("`keys` of a map", "RETURN size(keys({a: 1, b: 2})) AS n"),
    ]),
    ("Texts", &[
        ("`toUpper`, `toLower`", "RETURN toUpper('aß'), toLower('AÄ')"),
        ("`upper`, `lower`", "RETURN upper('a') AS a, lower('A') AS b"),
        ("`trim`, `lTrim`, `rTrim`", "RETURN trim(' a '), lTrim(' a '), rTrim(' a ')"),
        ("`btrim`", "RETURN btrim('  a ') AS x"),
        ("`trim(BOTH …)`", "RETURN trim(BOTH 'x' FROM 'xax') AS x"),
        ("`replace`", "RETURN replace('banana', 'an', 'x')"),
        ("`substring`", "RETURN substring('hello', 1), substring('hello', 1, 2)"),
        ("`left`, `right`", "RETURN left('hello', 2), right('hello', 2)"),
        ("`split`", "RETURN split('a,b,,c', ',')"),
        ("`split` by several", "RETURN split('a,b;c', [',', ';']) AS x"),
        ("`char_length`", "RETURN char_length('häuser') AS n"),
        ("`size` of other scripts", "RETURN size('日本🦀') AS n"),
        ("`toString`", "RETURN toString(1), toString(1.5), toString(true), toString(datetime('2024-01-15T10:30:00Z'))"),
        ("`toStringOrNull`", "RETURN toStringOrNull([1]) AS x"),
        ("`normalize`", "RETURN normalize('a') AS x"),
    ]),
    ("Numbers", &[
        ("`toInteger`", "RETURN toInteger('42'), toInteger('x'), toInteger(4.9), toInteger('4.9')"),
        ("`toFloat`", "RETURN toFloat('1.5'), toFloat(2), toFloat('x')"),
        ("`toBoolean`", "RETURN toBoolean('true'), toBoolean('x')"),
        ("`toIntegerOrNull`", "RETURN toIntegerOrNull('1'), toIntegerOrNull(true)"),
        ("`abs`, `sign`", "RETURN abs(-3), abs(-1.5), sign(-2), sign(0)"),
        ("`ceil`, `floor`", "RETURN ceil(1.2), floor(1.8), ceil(-1.2), floor(-1.2)"),
        ("`round`", "RETURN round(1.5), round(-1.5), round(2.4)"),
        ("`round` to places", "RETURN round(3.14159, 2) AS x"),
        ("`round` with a mode", "RETURN round(1.25, 1, 'HALF_EVEN') AS x"),
        ("`sqrt`, `exp`, `log`, `log10`", "RETURN sqrt(16), exp(0), log(1), log10(1000)"),
        ("`sin`, `cos`, `atan2`, `pi`, `e`", "RETURN sin(0), cos(0), atan2(0, 1), pi(), e()"),
        ("`rand`", "RETURN rand() < 1.0 AS x"),
        ("`isNaN`", "RETURN isNaN(0.0 / 0.0) AS x"),
        ("`coalesce`", "RETURN coalesce(null, 2, 3) AS x, coalesce(null, null) AS y"),
        ("`nullIf`", "RETURN nullIf(1, 1) AS x, nullIf(1, 2) AS y"),
        ("`valueType`", "RETURN valueType(1) AS x"),
    ]),
    ("Times", &[
        ("`datetime()` is the end of the stream", "RETURN datetime() AS x"),
        ("`datetime(text)`", "RETURN datetime('2024-01-15T10:30:00.123456Z') AS x"),
        ("`datetime(text)` with an offset", "RETURN datetime('2024-01-15T10:30:00+02:00') AS x"),
        ("`datetime({…})`", "RETURN datetime({year: 2024, month: 1, day: 15, hour: 10}) AS x"),
        ("`datetime({epochMillis})`", "MATCH (e:Event {id: 'e1'}) RETURN datetime({epochMillis: e.ts_ms}) AS x"),
        ("`datetime({epochSeconds})`", "RETURN datetime({epochSeconds: 1705320000}) AS x"),
        ("`timestamp()`", "RETURN timestamp() AS x"),
        ("`date()`, `time()`, `localtime()`, `localdatetime()`", "RETURN date(), time(), localtime(), localdatetime()"),
        ("`date(text)`", "RETURN date('2024-01-15') AS x, date('2024-01-15') < date('2024-02-01') AS y"),
        ("`date(datetime)`", "MATCH (e:Event {id: 'e1'}) RETURN date(e.timestamp) AS x"),
        ("`duration({…})`", "RETURN duration({hours: 1, minutes: 30}) AS x"),
        ("`duration(text)`", "RETURN duration('PT1H30M') AS x"),
        ("time minus span", "RETURN datetime() - duration({hours: 1}) AS x"),
        ("time plus span", "RETURN datetime('2024-01-31T00:00:00Z') + duration({months: 1}) AS x"),
        ("span times number", "RETURN duration({minutes: 1}) * 3 AS x"),
        ("newer than", "MATCH (e:Event) WHERE e.timestamp > datetime() - duration({minutes: 1}) RETURN count(e)"),
        ("compared with a parameter", "MATCH (e:Event) WHERE e.timestamp > $since RETURN count(e)"),
        ("between", "MATCH (e:Event) WHERE datetime('2024-01-15T11:59:59.9999Z') < e.timestamp <= datetime() RETURN count(e)"),
        ("`duration.between`", "RETURN duration.between(datetime('2024-01-15T10:00:00Z'), datetime('2024-01-15T11:30:00Z')) AS x"),
        ("`duration.inSeconds`", "RETURN duration.inSeconds(datetime('2024-01-15T10:00:00Z'), datetime('2024-01-15T11:30:00Z')).seconds AS x"),
        ("parts of a time", "WITH datetime('2024-01-15T10:30:05.123Z') AS t RETURN t.year, t.month, t.day, t.hour, t.minute, t.second, t.millisecond, t.epochMillis, t.epochSeconds, t.dayOfWeek, t.week"),
        ("parts of a span", "WITH duration({hours: 1, minutes: 30}) AS d RETURN d.seconds, d.minutes, d.hours"),
        ("`datetime.truncate`", "RETURN datetime.truncate('hour', datetime('2024-01-15T10:30:05Z')) AS x"),
        ("`datetime.fromEpochMillis`", "RETURN datetime.fromEpochMillis(1705320000000) AS x"),
        ("ordering by time", "MATCH (e:Event) WHERE e.id STARTS WITH 'e' RETURN e.id ORDER BY e.timestamp DESC, e.id LIMIT 3"),
        ("grouped by minute", "MATCH (e:Event) WHERE e.id STARTS WITH 'e' RETURN datetime.truncate('minute', e.timestamp) AS m, count(*) AS n"),
    ]),
    ("Nodes and relations", &[
        ("a node", "MATCH (p:Pod {uid: 'p1'}) RETURN p"),
        ("a relation", "MATCH (e:Event {id: 'e0'})-[t:TRIGGERED]->() RETURN t"),
        ("`labels`, `type`", "MATCH (e:Event {id: 'e0'})-[r:AFFECTS]->(p) RETURN labels(p), type(r)"),
        ("`properties`", "MATCH (p:Pod {uid: 'p1'}) RETURN properties(p) AS m"),
        ("`keys`", "MATCH (p:Pod {uid: 'p1'}) UNWIND keys(p) AS k RETURN k"),
        ("`startNode`, `endNode`", "MATCH (e:Event {id: 'e0'})-[r:TRIGGERED]->() RETURN startNode(r).id, endNode(r).id"),
        ("`id`", "MATCH (p:Pod {uid: 'p1'}) RETURN id(p) >= 0 AS x"),
        ("`elementId`", "MATCH (p:Pod {uid: 'p1'}) RETURN elementId(p) IS NOT NULL AS x"),
        ("same node", "MATCH (a:Pod {uid: 'p1'}), (b:Pod {name: 'web-1'}) RETURN a = b AS x"),
        ("nodes in a list", "MATCH (n:Node) WITH n ORDER BY n.uid RETURN [x IN collect(n) | x.uid] AS l"),
        ("`randomUUID`", "RETURN size(randomUUID()) AS x"),
        ("`count` of relations", "MATCH (:Pod)-[r:RUNS_ON]->() RETURN count(r)"),
        ("`db.labels()`", "CALL db.labels() YIELD label WITH label WHERE label = 'Pod' RETURN label"),
        ("`db.relationshipTypes()`", "CALL db.relationshipTypes() YIELD relationshipType AS t WITH t WHERE t = 'AFFECTS' RETURN t"),
        ("`db.propertyKeys()`", "CALL db.propertyKeys() YIELD propertyKey WITH propertyKey WHERE propertyKey = 'uid' RETURN propertyKey"),
        ("`db.schema.visualization()`", "CALL db.schema.visualization()"),
        ("`SHOW INDEXES`", "SHOW INDEXES"),
        ("`apoc.…`", "RETURN apoc.text.join(['a'], ',') AS x"),
        ("`point`", "RETURN point({x: 1, y: 2}).x AS x"),
    ]),
    ("Parameters", &[
        ("text", "MATCH (p:Pod {name: $name}) RETURN p.uid"),
        ("number", "UNWIND [1, 2, 3] AS x WITH x WHERE x > $n RETURN x"),
        ("list", "MATCH (p:Pod) WHERE p.name IN $names RETURN p.uid"),
        ("map", "RETURN $map.a AS x, $map['a'] AS y"),
        ("time", "RETURN $since AS x"),
        ("missing", "RETURN $nobody AS x"),
        ("as a property map", "MATCH (p:Pod $map) RETURN p"),
    ]),
    ("Writes", &[
        ("`CREATE`", "CREATE (n:Pod {uid: 'x'})"),
        ("`MERGE`", "MERGE (n:Pod {uid: 'x'}) RETURN n"),
        ("`SET`", "MATCH (n:Pod) SET n.name = 'x'"),
        ("`DELETE`", "MATCH (n:Pod) DETACH DELETE n"),
        ("`REMOVE`", "MATCH (n:Pod) REMOVE n.name"),
        ("`FOREACH`", "FOREACH (x IN [1] | CREATE (n))"),
        ("`LOAD CSV`", "LOAD CSV FROM 'file:///x' AS l RETURN l"),
        ("`CREATE INDEX`", "CREATE INDEX x FOR (n:Pod) ON (n.x)"),
    ]),
];

/// The least number of features that a survey has.
const LEAST: usize = 200;

fn params() -> Vec<(&'static str, Cell)> {
    let map = BTreeMap::from([("a".to_owned(), Cell::Int(1))]);
    vec![
        ("name", text("web-3")),
        ("n", Cell::Int(2)),
        ("names", Cell::List(vec![text("web-1"), text("web-2")])),
        ("list", Cell::List(vec![Cell::Int(3), Cell::Int(1)])),
        ("map", Cell::Map(map)),
        ("since", Cell::Time(noon().plus(-MINUTE))),
    ]
}

/// How a question ended on both stores.
enum Ended {
    Same,
    Differs { embedded: String, neo4j: String },
    Refused { says: String, neo4j: &'static str },
}

fn ask(store: &dyn GraphStore, question: &str) -> Result<Rows, StoreError> {
    // Only what a question names: Neo4j takes more, the embedded store need not.
    let named = |p: &(&str, Cell)| question.contains(&format!("${}", p.0));
    let params: Vec<(&str, Cell)> = params().into_iter().filter(named).collect();
    let limits = Limits { timeout_millis: 60_000, ..Limits::default() };
    let mut rows = try_ask(store, question, &params, limits)?;
    rows.rows.iter_mut().flatten().for_each(level);
    if !question.contains("ORDER BY") {
        rows.rows.sort_by_key(|r| format!("{r:?}"));
    }
    Ok(rows)
}

/// Numbers with a point are equal up to their twelfth digit; the order of labels is nobody's.
fn level(cell: &mut Cell) {
    match cell {
        Cell::Float(f) if f.is_finite() => *f = format!("{f:.12e}").parse().unwrap(),
        Cell::List(items) => items.iter_mut().for_each(level),
        Cell::Map(entries) => entries.values_mut().for_each(level),
        _ => {}
    }
}

fn ended(embedded: &dyn GraphStore, neo4j: &dyn GraphStore, question: &str) -> Ended {
    match (ask(embedded, question), ask(neo4j, question)) {
        (Ok(a), Ok(b)) if a == b => Ended::Same,
        (Ok(a), Ok(b)) => Ended::Differs { embedded: shown(&a), neo4j: shown(&b) },
        (Ok(a), Err(_)) => Ended::Differs { embedded: shown(&a), neo4j: "refuses it".to_owned() },
        (Err(a), b) => {
            let says = a.to_string().replace("the embedded store cannot run this: ", "");
            let says: String = says.split_whitespace().collect::<Vec<_>>().join(" ");
            // What it would have taken instead is a long list.
            let says = says.split(" expecting {").next().unwrap_or_default().to_owned();
            Ended::Refused { says, neo4j: if b.is_ok() { "answers" } else { "refuses it, too" } }
        }
    }
}

/// The first row that a reader needs to see the difference.
fn shown(rows: &Rows) -> String {
    let value = |c: &Cell| serde_json::to_string(c).unwrap();
    let first = rows.rows.first().map(|r| r.iter().map(value).collect::<Vec<_>>().join(", ")).unwrap_or_default();
    let more = if rows.rows.len() > 1 { format!(" … {} rows", rows.rows.len()) } else { String::new() };
    let first: String = first.chars().take(80).collect();
    if rows.rows.is_empty() { "no row".to_owned() } else { format!("{first}{more}") }
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

const HEAD: &str = "\
<!-- Made by the conformance suite from a run on both stores: TAPIO_WRITE_DOCS=1. Do not edit. -->

# Cypher in the embedded graph

The same text answers on both stores: people type the Cypher of Neo4j 5, and the gate in front of the embedded store
closes what differs. This page is what a run on both said, question by question; the suite fails where it is not true
any more. Beside it, some hundred questions put together at random, all statements of the catalog that read, and the
three queries of the design are compared row by row.

On both: only reading; one statement; time, rows and (embedded) steps are bounded; `datetime()` and `timestamp()` stand
for the end of the stream, or for `--at`. A path of unbounded length (`*`) has at most 30 steps in the embedded graph.
";

/// The page, from a run.
fn page(embedded: &dyn GraphStore, neo4j: &dyn GraphStore) -> String {
    let (mut same, mut differs, mut refused) = (String::new(), String::new(), String::new());
    let mut counts = [0; 4];
    for (area, features) in AREAS {
        let mut works = Vec::new();
        for (feature, question) in *features {
            let (name, question_) = (in_cell(feature), in_cell(question));
            match ended(embedded, neo4j, question) {
                Ended::Same => {
                    counts[0] += 1;
                    works.push(name);
                }
                Ended::Differs { embedded, neo4j } => {
                    counts[1] += 1;
                    let (a, b) = (in_cell(&embedded), in_cell(&neo4j));
                    writeln!(differs, "| {name} | `{question_}` | {a} | {b} |").unwrap();
                }
                Ended::Refused { says, neo4j } => {
                    counts[if neo4j == "answers" { 2 } else { 3 }] += 1;
                    writeln!(refused, "| {name} | `{question_}` | {} | {neo4j} |", in_cell(&says)).unwrap();
                }
            }
        }
        if !works.is_empty() {
            writeln!(same, "| {area} | {} |", works.join(" · ")).unwrap();
        }
    }
    let total: usize = counts.iter().sum();
    assert!(total >= LEAST, "only {total} features");
    format!(
        "{HEAD}\nOf {total} features {} give the same rows on both, {} differ, {} only Neo4j answers, {} neither does.\n\
         \n## The same on both\n\n| area | features |\n| --- | --- |\n{same}\
         \n## Different rows\n\n| feature | question | embedded | Neo4j |\n| --- | --- | --- | --- |\n{differs}\
         \n## Refused by the embedded store\n\n| feature | question | it says | Neo4j |\n| --- | --- | --- | --- |\n{refused}",
        counts[0], counts[1], counts[2], counts[3]
    )
}

/// Compares `docs/cypher.md` with a run, or with TAPIO_WRITE_DOCS writes it.
pub(crate) fn is_what_the_page_says(embedded: &dyn GraphStore, neo4j: &dyn GraphStore) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/cypher.md");
    let now = page(embedded, neo4j);
    if std::env::var_os("TAPIO_WRITE_DOCS").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let other = now.lines().zip(stands.lines().chain(std::iter::repeat(""))).find(|(a, b)| a != b);
    assert!(
        stands == now,
        "docs/cypher.md is not what the run says; write it with TAPIO_WRITE_DOCS=1 and look at the difference:\n{other:#?}"
    );
}
