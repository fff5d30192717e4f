//! The sample table: what is written is what is read, and damage is an error.

use std::fs;
use std::path::Path;

use forecart_data::encode::{ColumnSpec, FeatureSpec, Row, Value};
use forecart_data::samples::{
    Cell, ColumnKind, NO_PART, Role, SampleColumn, SampleDescription, SampleSplit,
};
use forecart_data::{DataError, Part, SampleTable, SampleWriter};
use proptest::prelude::*;

fn column(name: &str, kind: ColumnKind, role: Role) -> SampleColumn {
    SampleColumn::new(name, kind, role)
}

fn columns() -> Vec<SampleColumn> {
    vec![
        column("price", ColumnKind::Number, Role::Feature),
        column("brand", ColumnKind::Category, Role::Feature),
        column("tags", ColumnKind::List, Role::Feature),
        column("at", ColumnKind::Time, Role::Time),
        column("clicked", ColumnKind::Number, Role::Label),
    ]
}

fn description(split: SampleSplit) -> SampleDescription {
    SampleDescription {
        task: "click".into(),
        split,
        negatives_kept: 1.0,
        data_hash: "00".into(),
        config: serde_json::json!({}),
        steps: Vec::new(),
    }
}

fn write(folder: &Path) {
    let mut writer = SampleWriter::new(folder, columns()).unwrap();
    use Cell::{List, Missing, Number, Text, Time};
    let rows = [
        [Number(1.5), Text("acme"), List(&["red", "", "杯子"]), Time(10), Number(0.0)],
        [Missing, Missing, Missing, Missing, Number(1.0)],
        [Number(f64::NAN), Text(""), Text("red"), Time(30), Number(0.0)],
        [Number(-2.0), Text("acme"), List(&[]), Time(40), Missing],
    ];
    rows.iter().for_each(|row| writer.push(row).unwrap());
    let manifest = writer.finish(&[0, 1, 2, NO_PART], description(SampleSplit::Order)).unwrap();
    assert_eq!((manifest.n_rows(), manifest.n_open), (3, 1));
    assert_eq!(manifest.parts.iter().map(|part| part.n_positive).collect::<Vec<_>>(), [0, 1, 0]);
}

#[test]
fn what_is_written_is_what_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("samples");
    write(&folder);
    assert!(SampleTable::is_at(&folder) && !SampleTable::is_at(root.path()));
    let table = SampleTable::open(&folder).unwrap();
    table.verify().unwrap();
    assert_eq!(table.rows(Part::Train), [0]);
    assert_eq!(table.rows(Part::Validation), [1]);
    assert_eq!((table.label(1), table.label(3).is_nan()), (1.0, true));
    let first = table.row(0);
    assert_eq!(first.value("price"), Value::Number(1.5));
    assert_eq!(first.value("brand"), Value::Text("acme"));
    assert_eq!(first.value("at"), Value::Number(10.0));
    assert_eq!(first.value("no such column"), Value::Missing);
    let mut tags = Vec::new();
    first.value("tags").for_each_text(None, |text| tags.push(text.to_owned()));
    assert_eq!(tags, ["red", "杯子"]); // an empty text is none
    for name in ["price", "brand", "at"] {
        assert_eq!(table.row(1).value(name), Value::Missing, "{name}");
    }
    assert_eq!(table.row(2).value("price"), Value::Missing);
    let (_, times) = table.with_role(Role::Time).unwrap();
    assert_eq!([times.time_ms(0), times.time_ms(1)], [Some(10), None]);
}

#[test]
fn encoders_fitted_on_a_part_know_nothing_of_the_others() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("samples");
    write(&folder);
    let table = SampleTable::open(&folder).unwrap();
    let spec = FeatureSpec::new(vec![ColumnSpec::multi_hot("tags", "|", 1)]);
    let rows: Vec<_> = table.rows(Part::Validation).into_iter().map(|row| table.row(row)).collect();
    let program = spec.fit(&rows).unwrap(); // that row has no tags
    assert_eq!(program.names().sparse, ["tags=<missing>", "tags=<unknown>"]);
    assert_eq!(program.encode(&table.row(0)).sparse, [1]);
    let fields: Vec<_> =
        program.sparse_fields().iter().map(|field| (field.start, field.end)).collect();
    assert_eq!(fields, [(0, 2)]);
}

#[test]
fn further_labels_and_histories_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("samples");
    let columns = vec![
        column("clicked", ColumnKind::Number, Role::Label),
        column("item", ColumnKind::Category, Role::Feature),
        column("viewed", ColumnKind::List, Role::Feature).history_of("item"),
        column("bought", ColumnKind::Number, Role::Label),
    ];
    let mut writer = SampleWriter::new(&folder, columns.clone()).unwrap();
    let viewed = Cell::List(&["b", "a", "b"]); // in its order
    for (clicked, bought) in
        [(1.0, Cell::Number(1.0)), (0.0, Cell::Number(0.0)), (1.0, Cell::Missing)]
    {
        writer.push(&[Cell::Number(clicked), Cell::Text("a"), viewed, bought]).unwrap();
    }
    writer.push(&[Cell::Number(1.0), Cell::Missing, viewed, Cell::Number(2.0)]).unwrap_err();
    let mut writer = SampleWriter::new(&folder, columns).unwrap();
    writer.push(&[Cell::Number(1.0), Cell::Text("a"), viewed, Cell::Missing]).unwrap();
    writer.finish(&[0], description(SampleSplit::Order)).unwrap();
    let table = SampleTable::open(&folder).unwrap();
    assert_eq!(table.manifest.columns[2].history_of.as_deref(), Some("item"));
    assert_eq!((table.label(0), table.row(0).value("bought")), (1.0, Value::Missing));
    let mut viewed = Vec::new();
    table.row(0).value("viewed").for_each_text(None, |text| viewed.push(text.to_owned()));
    assert_eq!(viewed, ["b", "a", "b"]);
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"history_of\": \"item\"", "\"history_of\": \"clicked\""))
        .unwrap();
    assert!(SampleTable::open(&folder).is_err());
}

#[test]
fn any_damaged_file_is_an_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("samples");
    write(&folder);
    let names: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 10); // eight of five columns, parts and manifest
    for name in names {
        let path = folder.join(&name);
        let good = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(SampleTable::open(&folder).is_err(), "{name:?} removed");
        fs::write(&path, [&good[..], b"12345678"].concat()).unwrap();
        assert!(SampleTable::open(&folder).is_err(), "{name:?} longer");
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 0xff;
        fs::write(&path, &flipped).unwrap();
        let detected = SampleTable::open(&folder).and_then(|table| table.verify());
        assert!(detected.is_err(), "{name:?} with a flipped byte");
        fs::write(&path, &good).unwrap();
    }
    SampleTable::open(&folder).unwrap();
    // What a manifest says is checked against what there is before anything is read by it.
    let path = folder.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        let error = SampleTable::open(&folder).unwrap_err();
        fs::write(&path, &text).unwrap();
        error
    };
    let newer = refused("\"format_version\": 1", "\"format_version\": 9");
    assert!(matches!(newer, DataError::FormatVersion { found: 9, .. }));
    refused("\"n_positive\": 1", "\"n_positive\": 0");
    refused("\"name\": \"tags\"", "\"name\": \"price\"");
    refused("\"role\": \"label\"", "\"role\": \"feature\"");
    refused("\"forecart-samples\"", "\"forecart-dataset\"");
    assert!(matches!(SampleTable::open(root.path()), Err(DataError::NotASampleTable { .. })));
}

#[test]
fn the_writer_refuses_what_does_not_fit() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("samples");
    let refused = |columns: Vec<SampleColumn>| SampleWriter::new(&folder, columns).unwrap_err();
    refused(vec![column("price", ColumnKind::Number, Role::Feature)]);
    refused(vec![column("y", ColumnKind::Category, Role::Label)]);
    refused([columns(), columns()].concat());
    let mut writer = SampleWriter::new(&folder, columns()).unwrap();
    writer.push(&[Cell::Missing]).unwrap_err();
    let wrong = [Cell::Text("1.5"), Cell::Missing, Cell::Missing, Cell::Missing, Cell::Number(1.0)];
    let error = writer.push(&wrong).unwrap_err();
    assert!(error.to_string().contains("price"), "{error}");
    assert!(!folder.exists()); // and nothing of it is left
    refused(
        [
            columns(),
            vec![column("tags of nothing", ColumnKind::List, Role::Feature).history_of("no")],
        ]
        .concat(),
    );
    refused(
        [
            columns(),
            vec![column("price again", ColumnKind::Number, Role::Feature).history_of("brand")],
        ]
        .concat(),
    );
    refused([columns(), vec![column("late", ColumnKind::Category, Role::Label)]].concat());
    let labelled = |label: Cell<'static>, part: u8, split: SampleSplit| {
        let columns = vec![column("y", ColumnKind::Number, Role::Label)];
        let mut writer = SampleWriter::new(&folder, columns).unwrap();
        writer.push(&[label])?;
        writer.finish(&[part], description(split))
    };
    labelled(Cell::Missing, 0, SampleSplit::Order).unwrap_err();
    labelled(Cell::Number(0.5), 0, SampleSplit::Order).unwrap_err();
    labelled(Cell::Number(1.0), 3, SampleSplit::Order).unwrap_err();
    labelled(Cell::Number(1.0), 3, SampleSplit::Folds { n_folds: 4, seed: 1 }).unwrap();
    assert_eq!(SampleTable::open(&folder).unwrap().fold(3), [0]);
}

proptest! {
    // Each case syncs a folder to disk.
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_values_come_back(
        rows in proptest::collection::vec(
            (any::<f64>(), ".*", proptest::collection::vec(".{1,4}", 0..4), any::<i64>(), 0u8..4, any::<bool>()),
            0..12,
        )
    ) {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("samples");
        let mut writer = SampleWriter::new(&folder, columns()).unwrap();
        let mut parts = Vec::new();
        for (price, brand, tags, at, part, label) in &rows {
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let label = f64::from(u8::from(*label));
            let cells = [
                Cell::Number(*price), Cell::Text(brand), Cell::List(&tags), Cell::Time(*at), Cell::Number(label),
            ];
            writer.push(&cells).unwrap();
            parts.push(if *part == 3 { NO_PART } else { *part });
        }
        writer.finish(&parts, description(SampleSplit::Random { seed: 1 })).unwrap();
        let table = SampleTable::open(&folder).unwrap();
        table.verify().unwrap();
        for (at_row, (price, brand, tags, at, _, label)) in (0u32..).zip(&rows) {
            let row = table.row(at_row);
            let expected = if price.is_nan() { Value::Missing } else { Value::Number(*price) };
            prop_assert_eq!(row.value("price"), expected);
            let expected = if brand.is_empty() { Value::Missing } else { Value::Text(brand) };
            prop_assert_eq!(row.value("brand"), expected);
            let Value::List(found) = row.value("tags") else { panic!("no list") };
            prop_assert_eq!(&found, tags);
            let (_, times) = table.with_role(Role::Time).unwrap();
            prop_assert_eq!(times.time_ms(at_row as usize), Some(*at).filter(|at| *at != i64::MIN));
            prop_assert_eq!(table.label(at_row), f64::from(u8::from(*label)));
        }
    }
}
