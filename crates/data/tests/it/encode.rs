//! Encoders: what holds for every column, whatever stands in it.

use std::borrow::Cow;

use forecart_data::encode::{
    BucketEncoding, ColumnSpec, FeatureProgram, FeatureSpec, Fill, HistorySpec, NumericStep,
    TimePart, Value,
};
use proptest::prelude::*;

/// Every kind of encoder, every numeric step, alone and in chains.
fn everything() -> FeatureSpec {
    let numeric = |column: &str, steps: Vec<NumericStep>, fill| ColumnSpec::Numeric {
        column: column.into(),
        steps,
        fill,
        indicator: true,
    };
    let buckets = |encoding| NumericStep::Buckets { n_buckets: 5, encoding };
    FeatureSpec::new(vec![
        numeric("a", vec![NumericStep::Log1p, NumericStep::Standardize], Fill::Mean),
        numeric("b", vec![NumericStep::MinMax], Fill::Median),
        numeric("c", vec![NumericStep::Robust, NumericStep::Standardize], Fill::Value(-7.5)),
        numeric(
            "d",
            vec![
                NumericStep::ClipQuantiles { low: 0.1, high: 0.9 },
                NumericStep::Robust,
                NumericStep::MinMax,
                buckets(BucketEncoding::Ordinal),
            ],
            Fill::Mean,
        ),
        numeric("a", vec![NumericStep::Log1p, buckets(BucketEncoding::OneHot)], Fill::Mean),
        numeric("e", vec![NumericStep::Clip { low: Some(-1.0), high: None }], Fill::Mean),
        ColumnSpec::one_hot("t", 2),
        ColumnSpec::multi_hot("u", "|", 1),
        ColumnSpec::Hash {
            column: "u".into(),
            separator: Some("|".into()),
            n_buckets: 13,
            seed: 3,
        },
        ColumnSpec::Time { column: "b".into(), parts: TimePart::all(), utc_offset_minutes: 60 },
    ])
}

#[derive(Debug, Clone)]
struct Raw {
    numbers: [Option<f64>; 5],
    texts: [String; 2],
}

fn raw() -> impl Strategy<Value = Raw> {
    let number = prop_oneof![
        2 => Just(None),
        6 => prop::num::f64::ANY.prop_map(Some), // NaN, infinities and subnormals too
        6 => (-1e3f64..1e3).prop_map(Some),
        3 => Just(Some(1.0)),
        1 => Just(Some(f64::MAX)),
    ];
    let numbers = prop::array::uniform5(number);
    (numbers, "[ab|]{0,4}", "[a-d| ]{0,6}")
        .prop_map(|(numbers, t, u)| Raw { numbers, texts: [t, u] })
}

fn row(raw: &Raw) -> Vec<(&'static str, Value<'_>)> {
    let numbers = ["a", "b", "c", "d", "e"].into_iter().zip(raw.numbers);
    let mut row: Vec<_> =
        numbers.map(|(name, x)| (name, x.map_or(Value::Missing, Value::Number))).collect();
    row.push(("t", Value::Text(&raw.texts[0])));
    row.push(("u", Value::Text(&raw.texts[1])));
    row
}

fn fit(rows: &[Raw]) -> FeatureProgram {
    let rows: Vec<_> = rows.iter().map(row).collect();
    everything().fit(rows.iter().map(Vec::as_slice)).unwrap()
}

proptest! {
    #[test]
    fn nothing_that_goes_in_comes_out_as_nan_infinite_or_out_of_range(
        training in prop::collection::vec(raw(), 0..12), others in prop::collection::vec(raw(), 1..12),
    ) {
        let program = fit(&training);
        let names = program.names();
        prop_assert_eq!((names.dense.len(), names.sparse.len()), (program.n_dense(), program.n_sparse()));
        for raw in training.iter().chain(&others) {
            let encoded = program.encode(&row(raw)[..]);
            prop_assert_eq!(encoded.dense.len(), program.n_dense());
            prop_assert!(encoded.dense.iter().all(|x| x.is_finite()), "{:?}", encoded);
            prop_assert!(encoded.sparse.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(encoded.sparse.iter().all(|i| (*i as usize) < program.n_sparse()));
        }
    }

    #[test]
    fn a_program_that_was_saved_and_loaded_encodes_the_same_bits(
        training in prop::collection::vec(raw(), 0..12), others in prop::collection::vec(raw(), 1..6),
    ) {
        let program = fit(&training);
        let json = serde_json::to_string(&program).unwrap();
        let loaded: FeatureProgram = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&loaded, &program);
        prop_assert_eq!(serde_json::to_string(&loaded).unwrap(), json);
        for raw in &others {
            let (a, b) = (program.encode(&row(raw)[..]), loaded.encode(&row(raw)[..]));
            let bits = |dense: &[f32]| dense.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&a.dense), bits(&b.dense));
            prop_assert_eq!(a.sparse, b.sparse);
        }
    }

    #[test]
    fn encoding_other_rows_leaves_a_program_as_it_was(
        training in prop::collection::vec(raw(), 1..8), others in prop::collection::vec(raw(), 1..8),
    ) {
        let program = fit(&training);
        let before = serde_json::to_string(&program).unwrap();
        for raw in &others {
            program.encode(&row(raw)[..]);
        }
        prop_assert_eq!(&serde_json::to_string(&program).unwrap(), &before);
        // And it is what the training rows alone give.
        prop_assert_eq!(fit(&training), program);
    }

    #[test]
    fn a_category_that_was_not_in_the_training_rows_is_unknown(
        training in prop::collection::vec(raw(), 0..12),
    ) {
        let program = fit(&training);
        let names = program.names();
        let new = [("t", Value::Text("never")), ("u", Value::Text("never | seen"))];
        let encoded = program.encode(&new[..]);
        let active: Vec<_> =
            encoded.sparse.iter().map(|i| names.sparse[*i as usize].as_str()).collect();
        prop_assert!(active.contains(&"t=<unknown>"), "{active:?}");
        prop_assert_eq!(active.iter().filter(|name| name.starts_with("u=")).count(), 1);
        prop_assert!(active.contains(&"u=<unknown>"), "{active:?}");
    }
}

#[test]
fn rows_that_were_not_given_are_not_seen() {
    let rows = |prices: &[f64]| -> Vec<_> {
        prices.iter().map(|price| [("price", Value::Number(*price))]).collect()
    };
    let spec = FeatureSpec::new(vec![ColumnSpec::numeric("price", vec![NumericStep::Standardize])]);
    let training = rows(&[1.0, 3.0]);
    let program = spec.fit(training.iter().map(|row| &row[..])).unwrap();
    // Mean 2 and spread 1 of the training rows; a test row at 1000 moves neither.
    assert_eq!(program.encode(&rows(&[1000.0])[0][..]).dense, [998.0, 0.0]);
    let everything = rows(&[1.0, 3.0, 1000.0]);
    assert_ne!(spec.fit(everything.iter().map(|row| &row[..])).unwrap(), program);
}

#[test]
fn missing_values_get_the_documented_fill_and_their_indicator() {
    let missing = [("price", Value::Missing)];
    for (fill, want) in [(Fill::Mean, 4.0), (Fill::Median, 2.0), (Fill::Value(9.0), 9.0)] {
        let spec = FeatureSpec::new(vec![ColumnSpec::Numeric {
            column: "price".into(),
            steps: vec![],
            fill,
            indicator: true,
        }]);
        let rows = [1.0, 2.0, 9.0].map(|price| [("price", Value::Number(price))]);
        let program = spec.fit(rows.iter().map(|row| &row[..]).chain([&missing[..]])).unwrap();
        assert_eq!(program.encode(&missing[..]).dense, [want, 1.0], "{fill:?}");
        assert_eq!(program.encode(&rows[0][..]).dense, [1.0, 0.0]);
    }
}

#[test]
fn a_history_keeps_order_and_repeats_in_the_entries_of_its_column() {
    let history = |max_len| HistorySpec { column: "seen".into(), of: "item".into(), max_len };
    let columns = vec![ColumnSpec::one_hot("shop", 1), ColumnSpec::one_hot("item", 2)];
    let spec = FeatureSpec { columns, histories: vec![history(3)] };
    let row = |item: &'static str, seen: &[&'static str]| {
        let seen = seen.iter().map(|text| Cow::Borrowed(*text)).collect();
        [("shop", Value::Text("s")), ("item", Value::Text(item)), ("seen", Value::List(seen))]
    };
    // Both count for the vocabulary, each row once: a 3, b 2, c 1 and d 1.
    let rows = [row("a", &["b", "b"]), row("a", &[]), row("c", &["b", "a"]), row("d", &[])];
    let program = spec.fit(rows.iter().map(|row| &row[..])).unwrap();
    assert_eq!(program.history_fields(), [1]);
    let names = program.names().sparse;
    let seen = |item, texts: &[&'static str]| -> Vec<String> {
        let row = row(item, texts);
        let encoded = program.encode(&row[..]);
        encoded.histories[0].iter().map(|at| names[*at as usize].clone()).collect()
    };
    assert_eq!(seen("a", &["b", "a", "b"]), ["item=b", "item=a", "item=b"]);
    assert_eq!(seen("a", &["a", "b", "c", "", "b"]), ["item=b", "item=<unknown>", "item=b"]);
    assert!(seen("a", &[]).is_empty()); // not even a missing one
    let json = serde_json::to_string(&program).unwrap();
    assert_eq!(serde_json::from_str::<FeatureProgram>(&json).unwrap(), program);
    for (spec, want) in
        [(history(0), "length 0"), (HistorySpec { of: "seen".into(), ..history(3) }, "one-hot")]
    {
        let spec = FeatureSpec {
            histories: vec![spec],
            ..FeatureSpec::new(vec![ColumnSpec::one_hot("item", 1)])
        };
        let error = spec.check().unwrap_err().to_string();
        assert!(error.contains("seen") && error.contains(want), "{error}");
    }
}

#[test]
fn outputs_name_their_columns_and_the_neutral_row_has_none() {
    let columns = vec![
        ColumnSpec::numeric("price", vec![NumericStep::Log1p, NumericStep::Standardize]),
        ColumnSpec::one_hot("item", 1),
        ColumnSpec::numeric("age", vec![]),
        ColumnSpec::numeric(
            "price",
            vec![NumericStep::Buckets { n_buckets: 2, encoding: BucketEncoding::OneHot }],
        ),
        ColumnSpec::Time {
            column: "at".into(),
            parts: vec![TimePart::HourOfDay],
            utc_offset_minutes: 0,
        },
    ];
    let histories = vec![HistorySpec { column: "seen".into(), of: "item".into(), max_len: 3 }];
    let row = |price, age| {
        [("price", Value::Number(price)), ("age", Value::Number(age)), ("item", Value::Text("a"))]
    };
    let rows = [row(1.0, 20.0), row(3.0, 40.0)];
    let program = FeatureSpec { columns, histories }.fit(rows.iter().map(|row| &row[..])).unwrap();
    let inputs = program.inputs();
    assert_eq!(inputs.names, ["price", "item", "age", "at", "seen"]);
    assert_eq!(inputs.dense, [0, 0, 2, 2, 3, 3]);
    assert_eq!((inputs.fields, inputs.histories), (vec![1, 0], vec![4]));
    let neutral = program.neutral();
    assert_eq!(neutral.dense, [0.0, 0.0, 30.0, 0.0, 0.0, 0.0]);
    assert!(neutral.sparse.is_empty() && neutral.histories == [vec![0u32; 0]]);
}
