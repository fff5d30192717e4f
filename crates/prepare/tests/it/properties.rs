//! What must hold for any input.

use std::fs;

use forecart_data::Silent;
use forecart_prepare::import::parse_csv_bytes;
use forecart_prepare::{DataConfig, GenerateConfig, Resources, generate, import};
use proptest::prelude::*;

use crate::support::{bytes, events, import_with};

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

/// Ids of any characters that a text has.
fn id() -> impl Strategy<Value = String> {
    prop_oneof![
        // Control characters in one byte of fifty are taken for a file that is no text.
        "[^\\x00-\\x08\\x0e-\\x1f]{1,12}",
        "[a-z,\"\r\n;\t|/ ]{1,8}",
        Just("张三🛍️".to_owned()),
        Just("\"\"".to_owned()),
        Just(" lead".to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_give_rows_or_an_error(
        head in prop_oneof![
            Just(Vec::new()),
            Just(b"user_id,item_id,timestamp\n".to_vec()),
            Just(b"{\"user_id\":1,\"item_id\":2,\"timestamp\":3}\n".to_vec()),
            Just(vec![0x1f, 0x8b]),
        ],
        tail in proptest::collection::vec(any::<u8>(), 0..300),
        block_bytes in 1_usize..64,
    ) {
        let config = DataConfig { block_bytes, ..DataConfig::default() };
        if let Ok(parsed) = parse_csv_bytes(&[head, tail].concat(), &config) {
            let n_rows: usize = parsed.batches.iter().map(|batch| batch.num_rows()).sum();
            let n_rejected: u64 = parsed.rejected.iter().map(|group| group.n_rows).sum();
            prop_assert_eq!(parsed.n_read, n_rows as u64 + n_rejected);
        }
    }

    #[test]
    fn rows_come_back_as_they_were_written_whatever_the_blocks(
        rows in proptest::collection::vec((id(), id(), 0_i64..4_000_000_000_000), 1..40),
        quotes_all in any::<bool>(),
        block_bytes in 1_usize..200,
        crlf in any::<bool>(),
    ) {
        let end = if crlf { "\r\n" } else { "\n" };
        let mut text = format!("user_id,item_id,timestamp{end}");
        for (user, item, time) in &rows {
            let field = |id: &String| {
                let needs = quotes_all || id.contains([',', '"', '\n', '\r']) ;
                if needs { quoted(id) } else { id.clone() }
            };
            text += &format!("{},{},{time}{end}", field(user), field(item));
        }
        let stated = forecart_prepare::config::parse_toml(
            "[data]\nformat = \"csv\"\ndelimiter = \",\"\nheader = true\ntime_unit = \"ms\"\n\
             latest_time = \"2200-01-01T00:00:00Z\"",
        ).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("in.csv");
        fs::write(&input, &text).unwrap();
        let resources = |n_threads| Resources {
            memory_limit_bytes: None, n_threads, scratch: folder.path().to_owned(),
        };
        let whole = folder.path().join("whole");
        import(std::slice::from_ref(&input), &stated, &whole, &resources(1), &Silent).unwrap();
        let cut = folder.path().join("cut");
        let config = DataConfig { block_bytes, ..stated };
        import(std::slice::from_ref(&input), &config, &cut, &resources(2), &Silent).unwrap();
        let read = events(&whole);
        let texts = |column: &str| -> Vec<String> {
            read[column].iter().map(|value| value.clone().unwrap()).collect()
        };
        prop_assert_eq!(texts("user_id"), rows.iter().map(|r| r.0.clone()).collect::<Vec<_>>());
        prop_assert_eq!(texts("item_id"), rows.iter().map(|r| r.1.clone()).collect::<Vec<_>>());
        prop_assert_eq!(texts("timestamp"), rows.iter().map(|r| r.2.to_string()).collect::<Vec<_>>());
        prop_assert_eq!(read, events(&cut));
        prop_assert_eq!(fs::read(whole.join("log.json")).unwrap(), fs::read(cut.join("log.json")).unwrap());
    }
}

#[test]
fn one_and_two_threads_write_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.csv");
    // More than one row group and several blocks.
    let file = std::io::BufWriter::new(fs::File::create(&input).unwrap());
    generate(&GenerateConfig::of(600_000, 3), file).unwrap();
    let outs = [1, 2].map(|n_threads| {
        let out = folder.path().join(format!("log-{n_threads}"));
        import_with(&input, "", &out, n_threads).unwrap();
        bytes(&out)
    });
    assert!(outs[0].len() >= 4, "three months and a manifest");
    assert!(outs[0] == outs[1]);
}
