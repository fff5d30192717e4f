//! Rows of files as hashed features, without a table on disk.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use forecart_data::Silent;
use forecart_data::encode::{HashSpace, HashedFeature, HashedNumbers, HashedRows, SpaceSeed};
use forecart_data::samples::ColumnKind;
use forecart_prepare::samples::{StreamPurpose, parse_sample_bytes};
use forecart_prepare::{
    DataConfig, PrepareError, RawSamplesConfig, RowFormat, SampleStream, SamplesConfig, config,
    generate_rows,
};
use proptest::prelude::*;

const SPACE: HashSpace = HashSpace { bits: 18, numbers: HashedNumbers::Log };

fn configs(text: &str) -> (DataConfig, SamplesConfig) {
    let table: toml::Table = text.parse().unwrap();
    let raw: RawSamplesConfig = match table.get("samples") {
        Some(section) => section.clone().try_into().unwrap(),
        None => RawSamplesConfig::default(),
    };
    (config::parse_toml(text).unwrap(), raw.try_into().unwrap())
}

fn all(stream: &mut SampleStream) -> Result<HashedRows, PrepareError> {
    let (mut all, mut block) = (HashedRows::default(), HashedRows::default());
    while stream.next_block(&mut block)?.is_some() {
        block.iter().for_each(|row| all.push_row(row));
    }
    Ok(all)
}

fn of_text(
    text: impl AsRef<[u8]>,
    config: &str,
) -> Result<(HashedRows, SampleStream), PrepareError> {
    let (data, samples) = configs(config);
    let mut stream = SampleStream::of_bytes(text.as_ref(), SPACE, &data, &samples)?;
    let rows = all(&mut stream)?;
    Ok((rows, stream))
}

fn of_files(paths: &[PathBuf], config: &str) -> Result<(HashedRows, SampleStream), PrepareError> {
    let (data, samples) = configs(config);
    let purpose = StreamPurpose::Labels;
    let mut stream = SampleStream::open(paths, purpose, SPACE, &data, &samples, &Silent)?;
    let rows = all(&mut stream)?;
    Ok((rows, stream))
}

fn slot(space: &str, name: &str) -> u32 {
    SPACE.slot(SpaceSeed::new(space.as_bytes()), name.as_bytes())
}

fn features(rows: &HashedRows, row: usize) -> Vec<(u32, f32)> {
    rows.features(row).iter().map(|HashedFeature { slot, value }| (*slot, *value)).collect()
}

#[test]
fn a_row_has_the_same_features_in_every_format() {
    let columns = "[samples]\ncolumns = { C1 = \"category\", tags = \"list\", \"i:I1\" = \"number\", price = \"number\" }";
    let csv = "label,C1,tags,i:I1,price\n1,68fd1e64,a|b,3,0.5\n0,80e26c9b,,,7\n";
    let tsv = csv.replace(',', "\t");
    let jsonl = "{\"label\":1,\"C1\":\"68fd1e64\",\"tags\":[\"a\",\"b\"],\"i:I1\":3,\"price\":0.5}\n\
                 {\"label\":0,\"C1\":\"80e26c9b\",\"tags\":[],\"i:I1\":null,\"price\":7}\n";
    let vw = "1 |C1 68fd1e64 |tags a b |i I1:3 | price:0.5\n-1 |C1 80e26c9b | price:7\n";
    let (expected, _) = of_text(vw, "").unwrap();
    assert_eq!(
        features(&expected, 0),
        [
            (slot("C1", "68fd1e64"), 1.0),
            (slot("tags", "a"), 1.0),
            (slot("tags", "b"), 1.0),
            (slot("i", "I1"), 2.0), // log2(1 + 3)
            (slot("features", "price"), 1.5_f32.log2()),
        ]
    );
    for (text, config) in [(csv, columns), (tsv.as_str(), columns), (jsonl, columns)] {
        let (rows, _) = of_text(text, config).unwrap();
        assert_eq!(rows.len(), 2, "{text}");
        for row in 0..2 {
            assert_eq!(features(&rows, row), features(&expected, row), "{text}");
            assert_eq!(rows.row(row).label, expected.row(row).label);
        }
    }
    let (svm, _) = of_text("1 3:1 5:2.5\n0 3:1\n", "").unwrap();
    assert_eq!(features(&svm, 0)[0], (slot("features", "3"), 1.0));
    let (ffm, _) = of_text("1 0:3:1 1:5:1\n0 0:4:1 1:5:1\n", "").unwrap();
    assert_eq!(features(&ffm, 0), [(slot("field_0", "3"), 1.0), (slot("field_1", "5"), 1.0)]);
}

#[test]
fn generated_rows_of_criteo_and_of_vowpal_wabbit_have_the_same_labels_and_sizes() {
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, format| {
        let path = root.path().join(name);
        generate_rows(3000, 7, format, fs::File::create(&path).unwrap()).unwrap();
        path
    };
    let (vw, criteo) = (write("rows.vw", RowFormat::Vw), write("rows.tsv", RowFormat::Criteo));
    let (of_vw, stream) = of_files(std::slice::from_ref(&vw), "").unwrap();
    let (of_criteo, other) = of_files(&[criteo], "").unwrap();
    assert_eq!((of_vw.len(), of_criteo.len(), stream.n_read()), (3000, 3000, 3000));
    for (a, b) in of_vw.iter().zip(of_criteo.iter()) {
        assert_eq!((a.label, a.line, a.features.len()), (b.label, b.line, b.features.len()));
    }
    let kinds: Vec<_> =
        other.columns().iter().map(|column| (column.name.as_str(), column.kind)).collect();
    assert!(
        kinds.contains(&("I1", ColumnKind::Number))
            && kinds.contains(&("C26", ColumnKind::Category))
    );
    let kinds: Vec<_> =
        stream.columns().iter().map(|column| (column.name.as_str(), column.kind)).collect();
    assert!(
        kinds.contains(&("i:I1", ColumnKind::Number)) && kinds.contains(&("c", ColumnKind::List))
    );

    // Compressed, and in two files.
    let text = fs::read(&vw).unwrap();
    let cut = 1 + text[..text.len() / 2].iter().rposition(|byte| *byte == b'\n').unwrap();
    let (first, second) = (root.path().join("a.gz"), root.path().join("b.zst"));
    let file = fs::File::create(&first).unwrap();
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    packed.write_all(&text[..cut]).unwrap();
    packed.finish().unwrap();
    fs::write(&second, zstd::encode_all(&text[cut..], 1).unwrap()).unwrap();
    let (packed, stream) = of_files(&[first, second], "").unwrap();
    assert_eq!(stream.inputs().len(), 2);
    assert_eq!(packed.len(), of_vw.len());
    assert!(
        packed
            .iter()
            .zip(of_vw.iter())
            .all(|(a, b)| a.features == b.features && a.label == b.label)
    );
}

#[test]
fn bad_rows_are_counted_and_too_many_are_an_error() {
    let text = "1 |a x\nno bar\n0 |a y\n2 |a z\n";
    let error =
        of_text(text, "[data]\nformat = \"vw\"\nmax_bad_rows = 0.4").map(|_| ()).unwrap_err();
    assert!(error.is_data_invalid() && error.to_string().contains("2 of 4"), "{error}");
    let (rows, stream) = of_text(text, "[data]\nformat = \"vw\"\nmax_bad_rows = 0.5").unwrap();
    assert_eq!((rows.len(), stream.n_read(), stream.rejected().len()), (2, 4, 2));
    // As `prepare --samples` counts them.
    let (data, samples) = configs("[data]\nformat = \"vw\"\nmax_bad_rows = 1.0");
    let parsed = parse_sample_bytes(text.as_bytes(), &data, &samples).unwrap();
    assert_eq!(parsed.rejected, stream.rejected());
    let csv = "label,a,n\n1,x,2\n0,y,z\n7,x,1\n,x,1\n0,y\n";
    let config = "[data]\nmax_bad_rows = 1.0\n[samples]\ncolumns = { n = \"number\" }";
    let (rows, stream) = of_text(csv, config).unwrap();
    let (data, samples) = configs(config);
    assert_eq!((rows.len(), stream.n_open()), (1, 1));
    assert_eq!(
        parse_sample_bytes(csv.as_bytes(), &data, &samples).unwrap().rejected,
        stream.rejected()
    );
    let refused =
        |text: &str, config: &str| of_text(text, config).map(|_| ()).unwrap_err().to_string();
    assert!(
        refused("label,a\n1,x\n0,y\n", "samples.position = \"a\"").contains("samples.position")
    );
    assert!(refused("label,a\n1,x\n0,y\n", "samples.label = \"b\"").contains("samples.label"));
}

#[test]
fn what_is_ignored_or_says_whose_row_it_is_is_no_feature() {
    let text = "1 |user u1 |a x |b y:2\n0 |user u2 |a z |b y:3\n";
    let (rows, stream) = of_text(text, "[samples]\ngroup = \"user\"\nignore = [\"b:y\"]").unwrap();
    assert_eq!(features(&rows, 0), [(slot("a", "x"), 1.0)]);
    assert!(stream.columns().iter().all(|column| column.name != "b:y"));
    let csv = "label,user,a,when\n1,u1,x,2024-01-01\n0,u2,y,2024-01-02\n";
    let (rows, _) = of_text(csv, "samples.group = \"user\"").unwrap();
    assert_eq!(features(&rows, 0), [(slot("a", "x"), 1.0)]);
}

#[test]
fn a_stream_begins_again() {
    let (data, samples) = configs("");
    let mut stream = SampleStream::of_bytes(b"1 |a x\n0 |a y\n", SPACE, &data, &samples).unwrap();
    let (first, hash) = (all(&mut stream).unwrap(), stream.data_hash());
    stream.rewind();
    assert_eq!((all(&mut stream).unwrap(), stream.data_hash(), stream.n_read()), (first, hash, 2));
}

#[test]
fn predictions_need_no_label() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("rows.vw");
    fs::write(&path, "|a x\nnot_a_label |a y\n1 |a z\n").unwrap();
    let read = |path: &Path| {
        let (data, samples) = configs("data.format = \"vw\"");
        let purpose = StreamPurpose::Features(&[]);
        let paths = [path.to_owned()];
        let stream = SampleStream::open(&paths, purpose, SPACE, &data, &samples, &Silent);
        all(&mut stream.unwrap()).unwrap()
    };
    let rows = read(&path);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(features(&rows, 2), [(slot("a", "z"), 1.0)]);
}

const CONFIGS: &[&str] = include!("../../../../fuzz/sample_configs.rs");

proptest! {
    #[test]
    fn any_bytes_are_rows_or_an_error_in_any_blocks(
        head in prop_oneof![Just(""), Just("label,a\n1,x\n"), Just("1 1:1 2:1\n"), Just("1 |a b:2 c\n"), Just("1 1:1:1 2:3:0.5\n")],
        noise in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[01 :|,\\-.\"'#a\n\t\\[\\]{}]{0,120}".prop_map(String::into_bytes),
        ],
        choice in 0..CONFIGS.len(),
        block in 1_usize..40,
    ) {
        let text: Vec<u8> = head.bytes().chain(noise).collect();
        let (data, samples) = configs(CONFIGS[choice]);
        let read = |block_bytes: usize| {
            let data = DataConfig { block_bytes, ..data.clone() };
            let mut stream = SampleStream::of_bytes(&text, SPACE, &data, &samples).map_err(|e| e.to_string())?;
            let rows = all(&mut stream).map_err(|error| error.to_string())?;
            Ok::<_, String>((rows, stream.rejected(), stream.n_read(), stream.n_open()))
        };
        let whole = read(1 << 20);
        if let Ok((rows, rejected, n_read, n_open)) = &whole {
            let n_bad: u64 = rejected.iter().map(|group| group.n_rows).sum();
            prop_assert_eq!(rows.len() as u64 + n_bad + n_open, *n_read);
        }
        prop_assert_eq!(read(block), whole);
    }
}
