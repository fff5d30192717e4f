//! Files of rows with a label, to sample tables.

use std::fs;
use std::path::{Path, PathBuf};

use forecart_data::encode::{Row, Value};
use forecart_data::samples::{ColumnKind, Role, SampleColumn, SampleSplit, SampleTable};
use forecart_data::{Part, Silent};
use forecart_prepare::samples::parse_sample_bytes;
use forecart_prepare::{
    DataConfig, PrepareError, RawSamplesConfig, Resources, SampleRows, SamplesConfig,
    SamplesReport, config, prepare_samples,
};
use proptest::prelude::*;

use crate::support::bytes;

/// A folder with the inputs and the table that came of them.
struct Made {
    folder: tempfile::TempDir,
    report: SamplesReport,
}

impl Made {
    fn table(&self) -> SampleTable {
        let table = SampleTable::open(&self.folder.path().join("out")).unwrap();
        table.verify().unwrap();
        table
    }

    /// Why a column is of its kind, with the kind.
    fn kind(&self, name: &str) -> (Option<ColumnKind>, &str) {
        let found = self.report.columns.iter().find(|column| column.name == name);
        let found = found.unwrap_or_else(|| panic!("no {name} in {:?}", self.report.columns));
        (found.kind, &found.reason)
    }
}

/// Reads `[data]` and `[samples]`.
fn configs(text: &str) -> (DataConfig, SamplesConfig) {
    let table: toml::Table = text.parse().unwrap();
    let raw: RawSamplesConfig = match table.get("samples") {
        Some(section) => section.clone().try_into().unwrap(),
        None => RawSamplesConfig::default(),
    };
    (config::parse_toml(text).unwrap(), raw.try_into().unwrap())
}

fn run(
    folder: &Path,
    inputs: &[PathBuf],
    test: &[PathBuf],
    config: &str,
    n_threads: usize,
) -> Result<SamplesReport, PrepareError> {
    let (data, samples) = configs(config);
    let scratch = folder.to_owned();
    let resources = Resources { memory_limit_bytes: Some(1 << 30), n_threads, scratch };
    prepare_samples(inputs, test, &data, &samples, &folder.join("out"), &resources, &Silent)
}

fn made(text: impl AsRef<[u8]>, config: &str) -> Result<Made, PrepareError> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    fs::write(&input, text).unwrap();
    let report = run(folder.path(), &[input], &[], config, 2)?;
    Ok(Made { folder, report })
}

fn text(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "-".into(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => (*text).to_owned(),
        Value::List(texts) => format!("[{}]", texts.join(" ")),
    }
}

/// A table's rows as texts, `columns` of them.
fn rows(table: &SampleTable, columns: &[&str]) -> Vec<String> {
    let shown = |row: u32| {
        let row = table.row(row);
        let values: Vec<String> = columns.iter().map(|name| text(&row.value(name))).collect();
        values.join(" ")
    };
    (0..table.n_rows() as u32).map(shown).collect()
}

/// No shares for validation and test: what the few rows of a fixture say is looked at.
const WHOLE: &str = "[samples]\nvalidation = 0.0\ntest = 0.0\n";

#[test]
fn csv_with_every_kind_of_value() {
    let config = "[data]\nnull_values = [\"-\"]\n[samples]\nvalidation = 0.0\ntest = 0.0\n\
                  list_separator = \"|\"\ncolumns = { size = \"category\" }";
    let text = "click;when;brand;price;tags;size\n\
                1;2024-05-01 10:00;acme;1.5;a|b;7\n\
                0;2024-05-01 11:00;\" o;c \";-;;8\n\
                ;2024-05-02;;2;c;7\n";
    let made = made(text, config).unwrap();
    let table = made.table();
    let columns = ["click", "when", "brand", "price", "tags", "size"];
    assert_eq!(
        rows(&table, &columns),
        [
            "1 1714557600000 acme 1.5 [a b] 7",
            "0 1714561200000 o;c - [] 8",
            "- 1714608000000 - 2 [c] 7",
        ]
    );
    let of = |name: &str| table.columns().find(|(column, _)| column.name == name).unwrap().0;
    assert_eq!((of("click").role, of("when").role), (Role::Label, Role::Time));
    assert_eq!(of("tags").kind, ColumnKind::List);
    assert_eq!((made.report.n_rows_read, made.report.n_open), (3, 1));
    assert_eq!(made.kind("size").1, "stated in `[samples.columns]`");
    assert_eq!(made.report.columns[2].n_missing, 1);
    assert!(made.report.decisions.iter().any(|decision| decision.contains("taken as UTC")));
}

#[test]
fn json_lines_with_lists_and_booleans() {
    let text = "{\"purchase\":true,\"tags\":[\"a\",3,null],\"p\":1}\n\
                {\"tags\":[],\"purchase\":false,\"p\":2.5}\n";
    let table = made(text, WHOLE).unwrap().table();
    assert_eq!(rows(&table, &["purchase", "tags", "p"]), ["1 [a 3] 1", "0 [] 2.5"]);
}

#[test]
fn packed_files_are_read() {
    let text = b"y,a\n1,x\n0,z\n";
    let packed = zstd::encode_all(&text[..], 1).unwrap();
    assert_eq!(rows(&made(packed, WHOLE).unwrap().table(), &["y", "a"]), ["1 x", "0 z"]);
}

#[test]
fn libsvm_whose_values_are_1_is_one_list() {
    let made = made("1 3:1 07:1\n-1 3:1.0 9:1 # a comment\n", WHOLE).unwrap();
    assert_eq!(rows(&made.table(), &["label", "features"]), ["1 [3 7]", "0 [3 9]"]);
    assert_eq!(made.kind("features").0, Some(ColumnKind::List));
}

#[test]
fn libsvm_with_names_is_a_column_for_each_field() {
    let folder = tempfile::tempdir().unwrap();
    let (names, input) = (folder.path().join("names"), folder.path().join("in"));
    fs::write(&names, "day:2\t1\nday:3\t2\ntag:a\t3\ntag:b\t4\nbias\t0\n").unwrap();
    fs::write(&input, "0 0:1 1:1 3:1 4:1\n1 2:1\n").unwrap();
    let config = format!("{WHOLE}feature_names = {names:?}");
    run(folder.path(), &[input], &[], &config, 1).unwrap();
    let table = SampleTable::open(&folder.path().join("out")).unwrap();
    assert_eq!(rows(&table, &["label", "day", "tag", "features"]), ["0 2 [a b] bias", "1 3 [] -"]);
    let kind = |name: &str| table.columns().find(|(column, _)| column.name == name).unwrap().0.kind;
    assert_eq!((kind("day"), kind("tag")), (ColumnKind::Category, ColumnKind::List));
    let recorded = table.manifest.description.config["feature_names"].as_str();
    assert_eq!(recorded, Some("names"), "a manifest holds no paths");
}

#[test]
fn libsvm_with_other_values_is_numbers() {
    let table = made("1 1:0.5 2:1\n0 2:3\n", WHOLE).unwrap().table();
    assert_eq!(rows(&table, &["label", "features:1", "features:2"]), ["1 0.5 1", "0 0 3"]);
    let many: String = (0..1000).map(|index| format!(" {index}:2")).collect();
    let error = made(format!("1{many}\n"), WHOLE).err().unwrap();
    assert!(error.is_data_invalid() && error.to_string().contains("feature_names"), "{error}");
}

#[test]
fn libffm_has_a_column_for_each_field() {
    let table = made("1 0:5:1 1:7:1 1:8:1 2:9:0.25\n0 0:6:1\n", WHOLE).unwrap().table();
    let columns = ["label", "field_0", "field_1", "field_2:9"];
    assert_eq!(rows(&table, &columns), ["1 5 [7 8] 0.25", "0 6 [] 0"]);
}

#[test]
fn vowpal_wabbit_has_a_list_for_each_namespace() {
    let text = "1 2.0 'tag|u age:31 male |i a b\n-1 |i:2 c |u age:40\n | free\n";
    let made = made(text, WHOLE).unwrap();
    let columns = ["label", "u", "u:age", "i", "i:c", "features"];
    assert_eq!(
        rows(&made.table(), &columns),
        ["1 [male] 31 [a b] 0 []", "0 [] 40 [] 2 []", "- [] 0 [] 0 [free]"]
    );
    assert!(made.report.decisions.iter().any(|text| text.contains("1 rows have an importance")));
}

#[test]
fn criteo_without_and_with_a_header() {
    let numbers = "1\t1\t5\t\t1382\t4\t15\t2\t181\t1\t2\t\t2";
    let codes = (0..26).map(|at| format!("\t{:08x}", 0x68fd_1e64 + at)).collect::<String>();
    let text = format!("0\t{numbers}{codes}\n1\t{numbers}{codes}\n");
    let bare = made(&text, WHOLE).unwrap();
    assert_eq!(
        rows(&bare.table(), &["label", "I1", "I4", "C1", "C26"])[0],
        "0 1 - 68fd1e64 68fd1e7d"
    );
    assert!(bare.report.decisions.iter().any(|text| text.contains("Criteo")));
    let names = (1..=13).map(|at| format!("I{at}")).chain((1..=26).map(|at| format!("C{at}")));
    let header = format!("Label,{}\n", names.collect::<Vec<_>>().join(","));
    let headed = made(header + &text.replace('\t', ","), WHOLE).unwrap();
    assert_eq!(headed.kind("I1"), (Some(ColumnKind::Number), "a number in Criteo's files"));
    assert_eq!(headed.kind("C9").0, Some(ColumnKind::Category));
}

#[test]
fn avazu_has_hours_and_codes() {
    let text = "id,click,hour,C1,banner_pos,site_id,device_ip\n\
                1000009418151094273,0,14102100,1005,0,1fbe01fe,ddd2926e\n\
                10000169349117863715,1,14102123,1005,1,1fbe01fe,96809ac8\n";
    let made = made(text, WHOLE).unwrap();
    // 2014-10-21 00:00 and 23:00 UTC.
    assert_eq!(
        rows(&made.table(), &["click", "hour", "C1", "banner_pos"]),
        ["0 1413849600000 1005 0", "1 1413932400000 1005 1"]
    );
    assert_eq!(made.kind("C1").0, Some(ColumnKind::Category));
}

fn shoppers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../samples/online_shoppers.parquet")
}

fn check_shoppers(made: &Made) {
    use ColumnKind::{Category, Number};
    for (name, kind) in [
        ("Administrative", Number),
        ("Administrative_Duration", Number),
        ("Informational", Number),
        ("ProductRelated", Number),
        ("ExitRates", Number),
        ("PageValues", Number),
        ("SpecialDay", Number),
        ("Month", Category),
        ("OperatingSystems", Category),
        ("Browser", Category),
        ("Region", Category),
        ("TrafficType", Category),
        ("VisitorType", Category),
        ("Weekend", Category),
    ] {
        assert_eq!(made.kind(name).0, Some(kind), "{name}: {}", made.kind(name).1);
    }
}

#[test]
fn the_shipped_sample_is_read_as_its_authors_describe_it() {
    let folder = tempfile::tempdir().unwrap();
    let report = run(folder.path(), &[shoppers()], &[], "", 1).unwrap();
    let made = Made { folder, report };
    check_shoppers(&made);
    assert_eq!(
        made.kind("Administrative").1,
        "27 whole numbers from 0 on, larger ones rarer: a count"
    );
    assert_eq!(made.kind("Region").1, "9 different whole numbers, 3 more often than 2: codes");
    let positive: u64 = made.report.parts.iter().map(|part| part.n_positive).sum();
    let n_rows: u64 = made.report.parts.iter().map(|part| part.n_rows).sum();
    assert_eq!((n_rows, positive), (12_330, 1908));
    assert_eq!(made.report.split, SampleSplit::Random { seed: 0 });
    let sizes: Vec<_> = made.report.parts.iter().map(|p| (p.n_rows, p.n_positive)).collect();
    assert_eq!(sizes, [(8631, 1336), (1233, 190), (2466, 382)]);
}

#[test]
fn one_row_in_25_of_it_gives_the_same_kinds() {
    let text = include_bytes!("../fixtures/online_shoppers_493.csv");
    let made = made(text, "").unwrap();
    check_shoppers(&made);
    let row = rows(&made.table(), &["Month", "Weekend", "ProductRelated", "Revenue"])[0].clone();
    assert_eq!(row, "Feb FALSE 2 0");
}

#[test]
fn ids_and_numbers_of_rows_are_left_out_with_the_reason() {
    let lines = (0..40).map(|row| format!("{},{},u{row},{}\n", row % 2, 100 + row, row % 7));
    let made = made(format!("label,row,user,n\n{}", lines.collect::<String>()), "").unwrap();
    assert_eq!(made.kind("row").0, None);
    assert!(made.kind("row").1.contains("number of the row"));
    assert!(made.kind("user").1.contains("an id"));
    assert_eq!(made.table().columns().count(), 2);
    let kept = "samples.group = \"user\"";
    let lines = (0..40).map(|row| format!("{},u{row}\n", row % 2));
    let made = self::made(format!("label,user\n{}", lines.collect::<String>()), kept).unwrap();
    assert_eq!(made.kind("user").0, Some(ColumnKind::Category));
    assert_eq!(made.table().with_role(Role::Group).unwrap().0.name, "user");
}

/// Clicks with a moment each, not in order; three rows in the same second.
fn timed(n: usize) -> String {
    let rows = (0..n).map(|row| {
        let second = (row * 37 % n) / 3;
        format!("{},{},b{}\n", u8::from(row % 4 == 0), 1_700_000_000 + second, row % 5)
    });
    format!("click,t,brand\n{}", rows.collect::<String>())
}

#[test]
fn parts_by_time_share_no_moment() {
    let made = made(timed(200), "samples.time = \"t\"").unwrap();
    let table = made.table();
    let times = |part: Part| -> Vec<i64> {
        let (_, times) = table.with_role(Role::Time).unwrap();
        table.rows(part).iter().map(|row| times.time_ms(*row as usize).unwrap()).collect()
    };
    let parts = [Part::Train, Part::Validation, Part::Test].map(times);
    for pair in parts.windows(2) {
        assert!(pair[0].iter().max() < pair[1].iter().min());
    }
    let SampleSplit::Time { validation_start_ms, test_start_ms } = made.report.split else {
        panic!("{:?}", made.report.split)
    };
    assert_eq!(parts[1].iter().min(), Some(&validation_start_ms));
    assert_eq!(parts[2].iter().min(), Some(&test_start_ms));
    let sizes: Vec<u64> = made.report.parts.iter().map(|part| part.n_rows).collect();
    assert_eq!(sizes, [138, 21, 41]);
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.csv");
    fs::write(&input, timed(300)).unwrap();
    let of = |config: &str, n_threads| {
        run(folder.path(), std::slice::from_ref(&input), &[], config, n_threads).unwrap();
        bytes(&folder.path().join("out"))
    };
    for split in ["random", "folds", "order"] {
        let config = |seed: u8| format!("samples = {{ split = {split:?}, seed = {seed} }}");
        assert!(of(&config(1), 1) == of(&config(1), 4), "{split}");
        let other = of(&config(2), 1);
        let parts = Path::new("parts.u8");
        assert_eq!(of(&config(1), 1)[parts] == other[parts], split == "order", "{split}");
    }
}

#[test]
fn a_test_input_of_its_own_is_the_test_part() {
    let folder = tempfile::tempdir().unwrap();
    let [train, test] = ["train", "test"].map(|name| folder.path().join(name));
    fs::write(&train, "y,a\n1,p\n0,q\n1,p\n0,q\n").unwrap();
    fs::write(&test, "a,y\np,0\nr,1\n").unwrap();
    let config = "samples.validation = 0.25";
    let report = run(folder.path(), &[train], &[test], config, 1).unwrap();
    assert_eq!(report.split, SampleSplit::Given);
    let table = SampleTable::open(&folder.path().join("out")).unwrap();
    assert_eq!(table.rows(Part::Train), [0, 1, 2]);
    assert_eq!(table.rows(Part::Validation), [3]);
    assert_eq!(rows(&table, &["y", "a"])[4..], ["0 p", "1 r"]);
    assert_eq!(table.rows(Part::Test), [4, 5]);
}

#[test]
fn bad_rows_are_counted_with_their_lines_and_left_out() {
    let text = b"y,n\n1,1\n0,2\n1,three\nmaybe,4\n0,5,6\n\xff,7\n1,inf\n0,8\n";
    let config = "data.max_bad_rows = 0.7\nsamples.columns = { n = \"number\" }\n\
                  samples.validation = 0.0\nsamples.test = 0.0";
    let made = made(text, config).unwrap();
    let found: Vec<_> =
        made.report.rejected.iter().map(|r| (r.code.as_str(), r.examples[0].line)).collect();
    let want = [
        ("wrong_field_count", 6),
        ("not_utf8", 7),
        ("bad_number", 4),
        ("not_finite", 8),
        ("bad_label", 5),
    ];
    assert_eq!(found, want);
    assert_eq!(rows(&made.table(), &["y", "n"]), ["1 1", "0 2", "0 8"]);
    assert_eq!((made.report.n_rows_read, made.report.n_bad_rows), (8, 5));
}

#[test]
fn labels_of_every_writing() {
    for (labels, want) in [
        (["yes", "No"], ["1", "0"]),
        (["TRUE", "false"], ["1", "0"]),
        (["1.0", "0.0"], ["1", "0"]),
        (["-1", "1"], ["0", "1"]),
        (["", "1"], ["-", "1"]),
        (["1", "1"], ["1", "1"]),
    ] {
        let text = format!("label,a\n{},x\n{},y\n", labels[0], labels[1]);
        assert_eq!(rows(&made(text, WHOLE).unwrap().table(), &["label"]), want, "{labels:?}");
    }
    let config = format!("{WHOLE}label = \"state\"\npositive = [\"won\", \"paid\"]");
    let text = "state,a\nwon,x\nlost,y\npaid,z\n";
    assert_eq!(rows(&made(text, &config).unwrap().table(), &["state"]), ["1", "0", "1"]);
}

#[test]
fn broken_inputs_end_in_errors_that_name_the_place_and_the_fix() {
    let cut = {
        let mut bytes = fs::read(shoppers()).unwrap();
        bytes.truncate(bytes.len() / 2);
        bytes
    };
    let many = "1 1:1\n".repeat(50);
    let cases: &[(&str, &[u8], &str, &[&str])] = &[
        ("empty", b"", "", &["empty"]),
        ("no rows", b"label,a\n", "", &["no row"]),
        ("no label", b"a,b\n1,2\n", "", &["no column is the label", "samples.label"]),
        (
            "mistyped label",
            b"clickd,b\n1,2\n",
            "samples.label = \"clicked\"",
            &["did you mean \"clickd\""],
        ),
        ("two labels", b"click,purchase,a\n1,1,2\n", "", &["click, purchase", "samples.ignore"]),
        ("wrong labels", b"label,a\n0,x\n3,y\n", "", &["line 3", "\"3\"", "samples.positive"]),
        ("NaN label", b"label,a\n0,x\nNaN,y\n", "", &["line 3", "neither 0 nor 1"]),
        ("0 and -1", b"label,a\n0,x\n-1,y\n", "", &["0 in some rows and -1"]),
        ("no label known", b"label,a\n,x\n,y\n", "", &["no label in the first 2 rows"]),
        (
            "no such positive",
            b"label,a\n0,x\n1,y\n",
            "samples.positive = [\"yes\"]",
            &["samples.positive", "found 0, 1"],
        ),
        ("open quote", b"label,a\n0,x\n1,\"y\n", "", &["line 3", "never ends", "data.quote"]),
        ("ragged", b"label,a\n0,x\n1\n0,y\n1,z,z\n", "", &["2 of 4 rows", "line 3", "fields"]),
        ("invalid UTF-8", b"label,a\n0,x\n1,\xff\n", "", &["line 3", "not UTF-8", "iconv"]),
        (
            "time without times",
            b"label,t\n0,x\n1,y\n",
            "samples.time = \"t\"",
            &["\"x\" is no time", "data.time_format"],
        ),
        (
            "empty times",
            b"label,a,t\n0,x,\n1,y,\n",
            "samples.time = \"t\"",
            &["column \"t\"", "no time"],
        ),
        (
            "one moment",
            b"label,t,a\n0,2024-01-01,x\n1,2024-01-01,y\n",
            "",
            &["too few different times"],
        ),
        (
            "more folds than positives",
            b"label,a\n0,x\n1,y\n0,x\n",
            "samples.split = \"folds\"",
            &["10 folds and 1 positive"],
        ),
        (
            "libsvm index",
            (many.clone() + "1 x:1\n").leak().as_bytes(),
            "",
            &["line 51", "whole number"],
        ),
        (
            "libsvm negative index",
            (many.clone() + "1 -3:1\n").leak().as_bytes(),
            "",
            &["line 51", "-3"],
        ),
        ("libffm field", b"1 0:1:1\n0 1:1\n", "", &["line 2", "not two colons"]),
        ("VW without a bar", b"1 |a b\n0 a b\n", "data.format = \"vw\"", &["line 2", "bar"]),
        ("cut Parquet", &cut, "", &["Parquet"]),
        ("bad JSON", b"{\"label\":1,\"a\":2}\n{\"label\":\n", "", &["line 2", "one whole object"]),
        ("nothing to learn from", b"label,a\n0,\n1,\n", "", &["no column is left"]),
        (
            "mistyped column",
            b"label,price\n0,1\n1,2\n",
            "samples.columns = { prize = \"number\" }",
            &["did you mean \"price\""],
        ),
    ];
    for (name, text, config, wants) in cases {
        let Err(error) = made(text, config) else { panic!("{name}: no error") };
        assert!(error.is_data_invalid() && !error.is_usage(), "{name}: {error}");
        for want in *wants {
            assert!(error.to_string().contains(want), "{name}: no {want:?} in: {error}");
        }
    }
    for (name, text, config, want) in [
        ("time, split", "label,a\n0,x\n1,y\n", "samples.split = \"time\"", "samples.time"),
        ("libsvm as a log", "1 1:1\n", "samples.time = \"t\"", "libsvm has no column of times"),
    ] {
        let Err(error) = made(text, config) else { panic!("{name}: no error") };
        assert!(error.is_usage() && error.to_string().contains(want), "{name}: {error}");
    }
}

#[test]
fn a_table_that_stands_stays_if_a_run_fails() {
    let made = made("y,a\n1,p\n0,q\n", WHOLE).unwrap();
    let before = bytes(&made.folder.path().join("out"));
    let input = made.folder.path().join("broken");
    fs::write(&input, "y,a\n1,p\n0\n0,\"q\n").unwrap();
    run(made.folder.path(), &[input], &[], WHOLE, 1).unwrap_err();
    assert!(before == bytes(&made.folder.path().join("out")));
}

#[test]
fn rows_for_predictions_have_a_models_columns() {
    let column = SampleColumn::new;
    let columns = [
        column("click", ColumnKind::Number, Role::Label),
        column("price", ColumnKind::Number, Role::Feature),
        column("brand", ColumnKind::Category, Role::Feature),
        column("tags", ColumnKind::List, Role::Feature),
        column("t", ColumnKind::Time, Role::Time),
        column("absent", ColumnKind::Category, Role::Feature),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in.csv");
    let text = "tags,more,price,brand,t\na|b,1,2.5,x,2024-05-01\n,2,dear,y,\n,3,,z,\n";
    fs::write(&path, text).unwrap();
    let data = DataConfig { max_bad_rows: 0.5, block_bytes: 20, ..DataConfig::default() };
    let mut read = SampleRows::open(&path, &columns, &data).unwrap();
    let mut found = Vec::new();
    while let Some(block) = read.next_block().unwrap() {
        found.extend(block);
    }
    let names = ["click", "price", "brand", "tags", "t", "absent"];
    let shown: Vec<String> = found
        .iter()
        .map(|row| {
            let values: Vec<String> = names.iter().map(|name| text_of(row, name)).collect();
            format!("{}: {}", row.line, values.join(" "))
        })
        .collect();
    assert_eq!(shown, ["2: - 2.5 x [a b] 1714521600000 -", "4: - - z - - -"]);
    assert_eq!((read.n_read(), read.rejected()[0].code.as_str()), (3, "bad_number"));

    let strict = DataConfig { max_bad_rows: 0.1, ..DataConfig::default() };
    let mut read = SampleRows::open(&path, &columns, &strict).unwrap();
    read.next_block().unwrap();
    let error = read.next_block().unwrap_err();
    assert!(error.to_string().contains("in.csv, line 3, column \"price\": \"dear\""), "{error}");
}

fn text_of(row: &impl Row, column: &str) -> String {
    text(&row.value(column))
}

#[test]
fn sparse_rows_for_predictions() {
    let columns = [SampleColumn::new("features", ColumnKind::List, Role::Feature)];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("in");
    fs::write(&path, "1 3:1 4:1\n0 5:1\n").unwrap();
    let mut read = SampleRows::open(&path, &columns, &DataConfig::default()).unwrap();
    let block = read.next_block().unwrap().unwrap();
    let shown: Vec<String> = block.iter().map(|row| text_of(row, "features")).collect();
    assert_eq!(shown, ["[3 4]", "[5]"]);
}

/// Configurations that the fuzz target chooses from.
const CONFIGS: &[&str] = include!("../../../../fuzz/sample_configs.rs");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_rows_or_an_error_however_they_are_cut(
        head in prop_oneof![
            Just(""),
            Just("label,a\n1,x\n"),
            Just("{\"label\":1,\"a\":[\"x\"]}\n"),
            Just("1 1:1 2:1\n"),
            Just("1 1:1:1 2:3:0.5\n"),
            Just("1 |a b:2 c\n"),
            Just("label:token\ta:float\n1\t2\n"),
        ],
        noise in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[01 :|,\\-.\"'#a\n\t\\[\\]{}]{0,120}".prop_map(String::into_bytes),
        ],
        choice in 0..CONFIGS.len(),
    ) {
        let text: Vec<u8> = head.bytes().chain(noise).collect();
        let (data, samples) = configs(CONFIGS[choice]);
        let cut = DataConfig { block_bytes: 7, ..data.clone() };
        match (parse_sample_bytes(&text, &data, &samples), parse_sample_bytes(&text, &cut, &samples)) {
            (Ok(whole), Ok(cut)) => {
                let n_bad: u64 = whole.rejected.iter().map(|group| group.n_rows).sum();
                prop_assert_eq!(whole.n_rows + n_bad, whole.n_read);
                prop_assert_eq!(whole, cut);
            }
            (Err(whole), Err(cut)) => prop_assert_eq!(whole.to_string(), cut.to_string()),
            (whole, cut) => prop_assert!(false, "{:?}, in blocks {:?}", whole, cut),
        }
    }
}
