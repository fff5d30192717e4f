//! Files as they should not be: each is either imported correctly or ends in the error that the
//! documentation names; none panics, and none loses a row without a count.

use std::fs;
use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray,
};
use parquet::arrow::ArrowWriter;

use crate::support::{import_text, import_with};

/// What must come of a file.
enum Want {
    /// Rows kept, and rows rejected by code.
    Rows(u64, &'static [(&'static str, u64)]),
    /// A data error (exit code 3) whose text holds all of these.
    Invalid(&'static [&'static str]),
    /// A usage error (exit code 2) whose text holds this.
    Usage(&'static str),
}
use Want::{Invalid, Rows, Usage};

struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    config: &'static str,
    want: Want,
}

fn case(name: &'static str, bytes: impl Into<Vec<u8>>, config: &'static str, want: Want) -> Case {
    Case { name, bytes: bytes.into(), config, want }
}

const GOOD: &str = "user_id,item_id,event,timestamp\nu1,i1,view,1700000000\nu2,i2,buy,1700000001\n";
/// Accept any share of bad rows, so that their counts can be looked at.
const ALL: &str = "[data]\nmax_bad_rows = 1.0\n";

fn check(case: &Case) {
    let name = case.name;
    let result = import_text(&case.bytes, case.config);
    match (&case.want, result) {
        (Rows(n_rows, rejected), Ok(manifest)) => {
            assert_eq!(manifest.n_rows, *n_rows, "{name}: {manifest:?}");
            let found: Vec<(&str, u64)> =
                manifest.rejected.iter().map(|r| (r.code.as_str(), r.n_rows)).collect();
            assert_eq!(found, *rejected, "{name}");
            let n_read: u64 = manifest.inputs.iter().map(|input| input.n_read).sum();
            assert_eq!(n_read, manifest.n_rows + manifest.n_rejected, "{name}");
        }
        (Invalid(texts), Err(error)) => {
            assert!(error.is_data_invalid() && !error.is_usage(), "{name}: {error}");
            for text in *texts {
                assert!(error.to_string().contains(text), "{name}: no {text:?} in: {error}");
            }
        }
        (Usage(text), Err(error)) => {
            assert!(error.is_usage() && !error.is_data_invalid(), "{name}: {error}");
            assert!(error.to_string().contains(text), "{name}: no {text:?} in: {error}");
        }
        (_, result) => panic!("{name}: {result:?}"),
    }
}

fn check_all(cases: &[Case]) {
    for case in cases {
        check(case);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn rows(rows: &str) -> String {
    format!("user_id,item_id,event,timestamp,price\n{rows}")
}

#[test]
fn files_that_are_no_tables() {
    let mut cut_gzip = gzip(GOOD.repeat(50).as_bytes());
    cut_gzip.truncate(cut_gzip.len() - 12);
    let mut bad_gzip = gzip(GOOD.as_bytes());
    let at = bad_gzip.len() - 6;
    bad_gzip[at] ^= 0x55;
    let mut cut_zstd = zstd::encode_all(GOOD.as_bytes(), 1).unwrap();
    cut_zstd.truncate(cut_zstd.len() - 5);
    let junk: Vec<u8> =
        (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let utf16: Vec<u8> =
        [0xff, 0xfe].into_iter().chain(GOOD.bytes().flat_map(|byte| [byte, 0])).collect();
    check_all(&[
        case("empty", "", "", Invalid(&["empty"])),
        case("blanks", "\n \r\n\n", "", Invalid(&["empty"])),
        case("header only", "user_id,item_id,timestamp\n", "", Invalid(&["no row"])),
        case("header without line end", "user_id,item_id,timestamp", "", Invalid(&["no row"])),
        case("binary junk", junk, "", Invalid(&["binary", "CSV"])),
        case("NULs", vec![0; 100], "", Invalid(&["binary"])),
        case("cut gzip", cut_gzip, "", Invalid(&["gzip", "copy the file again"])),
        case("damaged gzip", bad_gzip, "", Invalid(&["gzip"])),
        case("gzip header alone", [0x1f, 0x8b, 8, 0], "", Invalid(&["gzip"])),
        case("cut zstd", cut_zstd, "", Invalid(&["zstd"])),
        case("zip", "PK\x03\x04rest", "", Invalid(&["zip archive", "unpack"])),
        case("UTF-16", utf16, "", Invalid(&["UTF-16", "iconv"])),
        case("latin-1 header", b"us\xe9r,item\n1,2\n", "", Invalid(&["line 1", "UTF-8"])),
        case("lone carriage returns", GOOD.replace('\n', "\r"), "", Invalid(&["carriage return"])),
        case("JSON array", "[{\"user_id\":1}]", "", Invalid(&["JSON array", "one object a line"])),
    ]);
}

#[test]
fn tables_with_wrong_columns() {
    check_all(&[
        case(
            "missing column",
            "user_id,event,timestamp\nu,view,1\n",
            "",
            Invalid(&["no column for item_id", "\"event\"", "data.columns.item_id"]),
        ),
        case(
            "mistyped column",
            "user_id,itm_id,timestamp\nu,i,1\n",
            "",
            Invalid(&["did you mean \"itm_id\"?"]),
        ),
        case(
            "no time",
            "user,item\n1,2\n",
            "",
            Invalid(&["no column for timestamp", "data.order_only"]),
        ),
        case("no time, by order", "user,item\n1,2\n", "[data]\norder_only = true", Rows(1, &[])),
        case(
            "duplicate columns",
            "user_id,item_id,item_id,timestamp\n1,2,3,4\n",
            "",
            Invalid(&["two columns have the name \"item_id\""]),
        ),
        case(
            "two aliases",
            "uid,sku,product_id,ts\n1,2,3,4\n",
            "",
            Invalid(&["\"sku\" and \"product_id\" may be item_id"]),
        ),
        case(
            "wrong delimiter",
            GOOD,
            "[data]\ndelimiter = \";\"",
            Invalid(&["only one column was found", "data.delimiter"]),
        ),
        case(
            "delimiter in words",
            GOOD,
            "[data]\ndelimiter = \"comma\"",
            Usage("two to eight marks such as ::"),
        ),
        case(
            "quote in the delimiter",
            GOOD,
            "[data]\ndelimiter = \"|\\\"\"",
            Usage("it is also in the delimiter"),
        ),
        case(
            "stated column is not there",
            GOOD,
            "[data.columns]\nuser_id = \"custmer\"",
            Invalid(&["\"custmer\"", "user_id"]),
        ),
        case("no header", "1,2,x\n3,4,5\n", "[data]\nheader = false", Invalid(&["data.names"])),
        case(
            "configuration of another file",
            "1 2 3\n2 4\n",
            "[data.columns]\nuser_id = \"wer\"",
            Invalid(&["no header line", "may be of another file"]),
        ),
        case("unknown key", GOOD, "[data]\ndelimitr = \",\"", Usage("delimitr")),
        case("unknown zone", GOOD, "[data]\ntime_zone = \"Mars/Base\"", Usage("Mars/Base")),
        case("unknown format", GOOD, "[data]\nformat = \"cvs\"", Usage("did you mean \"csv\"?")),
        case("not a column", GOOD, "[data.columns]\nuserid = \"a\"", Usage("user_id")),
        case("share of two", GOOD, "[data]\nmax_bad_rows = 2.0", Usage("max_bad_rows")),
    ]);
}

#[test]
fn layouts_that_are_read_as_they_are() {
    let bom = [b"\xef\xbb\xbf".as_slice(), GOOD.as_bytes()].concat();
    check_all(&[
        case("good", GOOD, "", Rows(2, &[])),
        case("byte order mark", bom, "", Rows(2, &[])),
        case("CRLF", GOOD.replace('\n', "\r\n"), "", Rows(2, &[])),
        case(
            "mixed line ends",
            "user_id,item_id,timestamp\r\nu,i,1700000000\nv,j,1700000001\r\n\r\n\nw,k,1700000002",
            "",
            Rows(3, &[]),
        ),
        case("one row, no line end", "user,item,ts\nu,i,1700000000", "", Rows(1, &[])),
        case("gzip without the name", gzip(GOOD.as_bytes()), "", Rows(2, &[])),
        case(
            "two gzip members",
            [gzip(GOOD.as_bytes()), gzip(b"u3,i3,view,1700000002\n")].concat(),
            "",
            Rows(3, &[]),
        ),
        case("zstd", zstd::encode_all(GOOD.as_bytes(), 1).unwrap(), "", Rows(2, &[])),
        case("tabs", GOOD.replace(',', "\t"), "", Rows(2, &[])),
        case("semicolons", GOOD.replace(',', ";"), "", Rows(2, &[])),
        case("pipes", GOOD.replace(',', "|"), "", Rows(2, &[])),
        case(
            "whitespace",
            " customer_id  date  n\r\n 00001 19970101  1\r\n 00002 19970112  12\r\n",
            "[data]\ntime_zone = \"UTC\"\ndefault_item = \"cd\"\n\
             columns = { timestamp = \"date\", quantity = \"n\" }",
            Rows(2, &[]),
        ),
        case(
            "line end in quotes",
            "user,item,ts,text\nu,i,1700000000,\"a\nb \"\"c\"\"\"\nv,j,1700000001,d\n",
            "",
            Rows(2, &[]),
        ),
        case(
            "hostile ids",
            "user,item,ts\n\"a,\"\"b\"\"\",x/y?z=1&w='2',1700000000\n张三,商品🛍️,1700000001\n\
             -1,../../etc,1700000002\n",
            "",
            Rows(3, &[]),
        ),
        case("quote within a field", "user,item,ts\nu,5\" pipe,1700000000\n", "", Rows(1, &[])),
        case(
            "single quotes",
            "user,item,ts\n'u,v',i,1700000000\n",
            "[data]\nquote = \"'\"",
            Rows(1, &[]),
        ),
    ]);
}

#[test]
fn bad_rows_are_counted_by_reason() {
    let late = "9999999999999";
    check_all(&[
        case("NaN price", rows("u,i,view,1700000000,NaN\n"), ALL, Invalid(&["1 of 1 rows"])),
        case(
            "NaN and infinity",
            rows("u,i,view,1700000000,1\nu,i,view,1700000000,NaN\nu,i,view,1700000000,inf\n"),
            ALL,
            Rows(1, &[("not_finite", 2)]),
        ),
        case(
            "thousands separators",
            rows("u,i,view,1700000000,\"1,234.50\"\nu,i,view,1700000000,12.5\n"),
            "",
            Invalid(&["1 of 2 rows", "line 2", "\"price\"", "1,234.50", "thousands"]),
        ),
        case(
            "negative time",
            rows("u,i,view,-5,1\nu,i,view,1700000000,1\nu,i,view,1700000000,1\n"),
            ALL,
            Rows(2, &[("negative_time", 1)]),
        ),
        case(
            "far future",
            rows(&format!("u,i,view,{late},1\nu,i,view,1700000000,1\nu,i,view,1700000000,1\n")),
            ALL,
            Rows(2, &[("late_time", 1)]),
        ),
        case(
            "times that are words",
            rows("u,i,view,yesterday,1\nu,i,view,1700000000,1\nu,i,view,1700000000,1\n"),
            ALL,
            Rows(2, &[("bad_time", 1)]),
        ),
        case(
            "missing values",
            rows(
                ",i,view,1700000000,1\nu,,view,1700000000,1\nu,i,,1700000000,1\n\
                  u,i,view,,1\nu,i,view,1700000000,\n",
            ),
            ALL,
            Rows(
                1,
                &[
                    ("missing_user", 1),
                    ("missing_item", 1),
                    ("missing_event", 1),
                    ("missing_time", 1),
                ],
            ),
        ),
        case(
            "guests are kept when asked",
            rows(",i,view,1700000000,1\n"),
            "[data]\nmissing_user = \"keep\"",
            Rows(1, &[]),
        ),
        case(
            "field counts",
            rows("u,i,view,1700000000\nu,i,view,1700000000,1,2\nu,i,view,1700000000,1\n"),
            ALL,
            Rows(1, &[("wrong_field_count", 2)]),
        ),
        case(
            "NUL and long ids",
            rows(&format!(
                "u\0,i,view,1700000000,1\nu,{},view,1700000000,1\nu,i,view,1700000000,1\n",
                "x".repeat(1025)
            )),
            ALL,
            Rows(1, &[("bad_id", 2)]),
        ),
        case(
            "latin-1 in one row",
            [rows("u,i,view,1700000000,1\n").as_bytes(), b"caf\xe9,i,view,1700000000,1\n"].concat(),
            ALL,
            Rows(1, &[("not_utf8", 1)]),
        ),
        case(
            "open quote",
            format!("{GOOD}\"u3,i3,view,1700000002\nu4,i4,view,1700000003\n"),
            "",
            Invalid(&["line 4", "never ends", "data.quote"]),
        ),
        case(
            "quotes that mean nothing",
            "user,item,ts\n\"u,i,1700000000\n",
            "[data]\nquote = \"\"",
            Rows(1, &[]),
        ),
    ]);
}

#[test]
fn times_that_need_a_word_from_the_user() {
    let naive = "user,item,ts\nu,i,2024-01-01 10:00:00\n";
    let american = "user,item,ts\nu,i,12/31/2010 8:26\n";
    check_all(&[
        case("no zone", naive, "", Invalid(&["state no zone", "data.time_zone"])),
        case("zone", naive, "[data]\ntime_zone = \"Asia/Shanghai\"", Rows(1, &[])),
        case("american", american, "", Invalid(&["12/31/2010 8:26", "data.time_format"])),
        case(
            "american, zone not stated",
            american,
            "[data]\ntime_format = \"%m/%d/%Y %H:%M\"",
            Invalid(&["state no zone", "data.time_zone"]),
        ),
        case(
            "another pattern",
            american,
            "[data]\ntime_zone = \"UTC\"\ntime_format = \"%Y-%m-%d\"",
            Invalid(&["12/31/2010 8:26", "not written \"%Y-%m-%d\""]),
        ),
        case(
            "year first, with slashes",
            "user,item,ts\nu,i,2024/01/31 10:00:00\n",
            "[data]\ntime_zone = \"UTC\"",
            Rows(1, &[]),
        ),
        case(
            "american, stated",
            american,
            "[data]\ntime_zone = \"UTC\"\ntime_format = \"%m/%d/%Y %H:%M\"",
            Rows(1, &[]),
        ),
    ]);
}

#[test]
fn long_lines_end_the_import_within_bounded_memory() {
    let long = format!("user,item,ts,text\nu,i,1700000000,{}\n", "x".repeat(10 << 20));
    let bounded = "[data]\nmax_line_bytes = 16777216";
    check_all(&[
        case("10 MB line", long.clone(), "", Invalid(&["8388608 bytes", "data.max_line_bytes"])),
        case("10 MB line, allowed", long, bounded, Rows(1, &[])),
    ]);
}

#[test]
fn json_lines() {
    check_all(&[
        case(
            "good and cut",
            "{\"user_id\":1,\"item_id\":\"a\",\"timestamp\":1700000000}\n{\"user_id\":2,\"item",
            ALL,
            Rows(1, &[("bad_json", 1)]),
        ),
        case(
            "not objects",
            "{\"user_id\":1,\"item_id\":\"a\",\"timestamp\":1700000000}\n[1]\n7\nnull\n",
            ALL,
            Rows(1, &[("bad_json", 3)]),
        ),
        case(
            "a key that comes late, and nested values",
            "{\"user_id\":1,\"item_id\":\"a\",\"timestamp\":1700000000}\n\
             {\"late\":{\"x\":[1,2]},\"user_id\":\"u\",\"item_id\":2,\"timestamp\":1700000001.5}\n",
            "",
            Rows(2, &[]),
        ),
        case("no objects", "{]\n{]\n", "", Invalid(&["no line is a JSON object"])),
        case(
            "wrong type of id",
            "{\"user_id\":1.5,\"item_id\":\"a\",\"timestamp\":1700000000}\n\
             {\"user_id\":1,\"item_id\":\"a\",\"timestamp\":1700000000}\n",
            ALL,
            Rows(1, &[("bad_id", 1)]),
        ),
    ]);
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

#[test]
fn parquet_files() {
    let time = || ints(&[1_700_000_000, 1_700_000_001]);
    let good = parquet(vec![
        ("user_id", ints(&[1, 2])),
        ("item_id", text(&["a", "b"])),
        ("timestamp", time()),
    ]);
    let in_gzip = gzip(&good);
    let cut = good[..good.len() / 2].to_vec();
    let mut damaged = good.clone();
    damaged[8..60].fill(0xff);
    let bools: ArrayRef = Arc::new(BooleanArray::from(vec![true, false]));
    let binary: ArrayRef = Arc::new(BinaryArray::from(vec![b"a".as_slice(), b"b"]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(17850.0), Some(1.5)]));
    let users_of = |users| {
        parquet(vec![("user_id", users), ("item_id", text(&["a", "b"])), ("timestamp", time())])
    };
    check_all(&[
        case("good", good, "", Rows(2, &[])),
        case("in gzip", in_gzip, "", Invalid(&["Parquet in a compressed file", "unpack"])),
        case("cut", cut, "", Invalid(&["Parquet"])),
        case("damaged", damaged, "", Invalid(&["Parquet"])),
        case("magic alone", "PAR1", "", Invalid(&["Parquet"])),
        case("boolean ids", users_of(bools), "", Invalid(&["user_id", "Boolean"])),
        case("binary ids", users_of(binary), "", Invalid(&["user_id", "Binary"])),
        case("float ids", users_of(floats), ALL, Rows(1, &[("bad_id", 1)])),
        case(
            "no rows",
            parquet(vec![("user_id", ints(&[])), ("item_id", ints(&[])), ("timestamp", ints(&[]))]),
            "",
            Invalid(&["no rows"]),
        ),
        case(
            "missing column",
            parquet(vec![("user_id", ints(&[1])), ("timestamp", ints(&[1]))]),
            "",
            Invalid(&["no column for item_id"]),
        ),
        case("not Parquet", GOOD, "[data]\nformat = \"parquet\"", Invalid(&["PAR1"])),
    ]);
}

#[test]
fn a_failed_import_leaves_the_log_that_stood_there() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("log"));
    fs::write(&input, GOOD).unwrap();
    import_with(&input, "", &out, 1).unwrap();
    let before = fs::read(out.join("log.json")).unwrap();
    fs::write(&input, "user_id,item_id,timestamp\nu,,1\n").unwrap();
    import_with(&input, "", &out, 1).unwrap_err();
    assert_eq!(fs::read(out.join("log.json")).unwrap(), before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}
