//! Each input format, from a small file to the event log and its tables.

use std::fs;

use forecart_prepare::prepare::{RawPrepareConfig, RawSplitConfig};
use forecart_prepare::{Resources, config};
use forecart_prepare::{ValidateConfig, init_from, validate};

use crate::support::{events, import_with, read};

fn some(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

#[test]
fn csv_with_aliases_synonyms_and_further_columns() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("log"));
    let text = "visitorId,itemID,event_type,Timestamp,Price,color\n\
                u1,i1,addtocart,1704067199999,1.5,red\nu1,i2,zoom,1704067200000,,\n";
    fs::write(&input, text).unwrap();
    let manifest = import_with(&input, "[events.names]\nzoom = \"view_item\"", &out, 2).unwrap();
    let rows = events(&out);
    assert_eq!(rows["user_id"], some(&["u1", "u1"]));
    assert_eq!(rows["event"], some(&["add_to_cart", "view_item"]));
    assert_eq!(rows["timestamp"], some(&["1704067199999", "1704067200000"]));
    assert_eq!(rows["price"], [Some("1.5".to_owned()), None]);
    assert_eq!(rows["color"], [Some("red".to_owned()), None]);
    assert!(out.join("events/month=2023-12/part-00000.parquet").is_file());
    assert!(out.join("events/month=2024-01/part-00000.parquet").is_file());
    assert_eq!(manifest.extra_columns, ["color"]);
    assert_eq!((manifest.n_users, manifest.n_items), (1, 2));
    assert_eq!(manifest.time_range_ms, Some((1_704_067_199_999, 1_704_067_200_000)));
}

#[test]
fn exports_of_common_trackers_need_no_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in"), folder.path().join("log"));
    for (tracker, text, event) in [
        (
            "GA4",
            "event_timestamp,event_name,user_pseudo_id,item_id,ga_session_id\n\
             1704067200000000,view_item,7.1,A,1\n",
            "view_item",
        ),
        (
            "Segment",
            "{\"messageId\":\"m\",\"userId\":\"7.1\",\"product_id\":\"A\",\"event\":\"Product Added\",\
             \"timestamp\":\"2024-01-01T00:00:00Z\",\"sentAt\":\"2024-01-01T00:00:09Z\"}\n",
            "add_to_cart",
        ),
        (
            "Retailrocket",
            "timestamp,visitorid,event,itemid,transactionid\n1704067200000,7.1,transaction,A,1\n",
            "purchase",
        ),
        (
            "AWS Personalize",
            "USER_ID,ITEM_ID,TIMESTAMP,EVENT_TYPE,EVENT_VALUE\n7.1,A,1704067200,click,1\n",
            "select_item",
        ),
        (
            "gorse",
            "{\"FeedbackType\":\"read\",\"UserId\":\"7.1\",\"ItemId\":\"A\",\
             \"Timestamp\":\"2024-01-01T00:00:00Z\"}\n",
            "view_item",
        ),
        (
            "Metarank",
            "{\"event\":\"interaction\",\"id\":\"x\",\"ranking\":\"r\",\"timestamp\":\"1704067200000\",\
             \"user\":\"7.1\",\"session\":\"s\",\"type\":\"purchase\",\"item\":\"A\"}\n",
            "purchase",
        ),
        (
            "Algolia",
            "userToken,objectID,eventType,timestamp,queryID\n7.1,A,conversion,1704067200000,q\n",
            "purchase",
        ),
        (
            "REES46",
            "event_time,event_type,product_id,price,user_id,user_session\n\
             2024-01-01 00:00:00 UTC,cart,A,1.5,7.1,s\n",
            "add_to_cart",
        ),
    ] {
        fs::write(&input, text).unwrap();
        let manifest = import_with(&input, "", &out, 1);
        let manifest = manifest.unwrap_or_else(|error| panic!("{tracker}: {error}"));
        let rows = events(&out);
        assert_eq!(rows["user_id"], some(&["7.1"]), "{tracker}: {:?}", manifest.columns);
        assert_eq!(rows["item_id"], some(&["A"]), "{tracker}");
        assert_eq!(rows["event"], some(&[event]), "{tracker}");
        assert_eq!(rows["timestamp"], some(&["1704067200000"]), "{tracker}");
    }
}

#[test]
fn order_lines_keep_guests_and_cancellations_and_make_a_catalog() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("orders.csv"), folder.path().join("log"));
    let text = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n\
                536365,85123A,HEART,6,2010-12-01 08:26:00,2.55,17850,UK\n\
                536366,85123A,HEART,1,2010-12-01 08:28:00,2.95,,UK\n\
                536367,85123A,heart?,1,2010-12-01 08:28:00,2.55,17851,UK\n\
                C536379,85123A,HEART,-1,2010-12-01 09:41:00,9.99,17850,UK\n";
    fs::write(&input, text).unwrap();
    let manifest = import_with(&input, "[data]\ntime_zone = \"Europe/London\"", &out, 2).unwrap();
    let rows = events(&out);
    assert_eq!(rows["event"], some(&["purchase", "purchase", "purchase", "refund"]));
    assert_eq!(rows["user_id"][1], None);
    assert_eq!(rows["quantity"][3], Some("-1.0".to_owned()));
    assert_eq!(rows["timestamp"][0], Some("1291191960000".to_owned()));
    assert_eq!((manifest.n_guests, manifest.n_rejected), (1, 0));
    let items = read(&out.join("items.parquet"));
    assert_eq!(items["item_id"], some(&["85123A"]));
    assert_eq!(items["title"], some(&["HEART"]));
    assert_eq!(items["price"], some(&["2.55"]));
}

#[test]
fn movielens_files_have_two_colons_between_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("ratings.dat"), folder.path().join("log"));
    fs::write(&input, "1::1193::5::978300760\n1::661::3::978302109\n2::1357::5::978298709\n")
        .unwrap();
    let names = "[data]\nnames = [\"user_id\", \"item_id\", \"value\", \"timestamp\"]\n";
    for config in [names.to_owned(), format!("{names}delimiter = \"::\"")] {
        let manifest = import_with(&input, &config, &out, 2).unwrap();
        assert_eq!((manifest.n_rows, manifest.n_rejected), (3, 0));
        let rows = events(&out);
        assert_eq!(rows["user_id"], some(&["1", "1", "2"]));
        assert_eq!(rows["item_id"], some(&["1193", "661", "1357"]));
        assert_eq!(rows["value"], some(&["5.0", "3.0", "5.0"]));
        assert_eq!(rows["timestamp"][0], Some("978300760000".to_owned()));
    }
}

#[test]
fn recbole_files_bring_their_tables() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("ml");
    fs::create_dir(&data).unwrap();
    let write = |name: &str, text: &str| fs::write(data.join(name), text).unwrap();
    write(
        "ml.inter",
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n1\t2\t3\t881250949\n",
    );
    write(
        "ml.item",
        "item_id:token\tmovie_title:token_seq\tyear:float\n2\tToy Story\t1995\n2\tAgain\t1\n",
    );
    write("ml.user", "user_id:token\tage:token\n1\t24\n");
    let out = folder.path().join("log");
    let manifest = import_with(&data, "", &out, 2).unwrap();
    let rows = events(&out);
    assert_eq!(rows["value"], some(&["3.0"]));
    assert_eq!(rows["timestamp"], some(&["881250949000"]));
    let items = read(&out.join("items.parquet"));
    assert_eq!(items["title"], some(&["Toy Story"]));
    assert_eq!(items["year"], some(&["1995.0"]));
    assert_eq!(read(&out.join("users.parquet"))["age"], some(&["24"]));
    assert_eq!(manifest.warnings[0].code, "repeated_id");
    assert_eq!(manifest.inputs.len(), 3);
}

#[test]
fn parts_of_recbole_data_find_their_tables_and_may_be_compressed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("ml");
    fs::create_dir(&data).unwrap();
    let pack = |name: &str, text: &str| {
        fs::write(data.join(name), zstd::encode_all(text.as_bytes(), 1).unwrap()).unwrap();
    };
    let header = "user_id:token\titem_id:token\ttimestamp:float\n";
    pack("ml.train.inter.zst", &format!("{header}1\t2\t881250949\n"));
    pack("ml.test.inter.zst", &format!("{header}1\t3\t881250950\n"));
    pack("ml.item.zst", "item_id:token\tmovie_title:token_seq\n2\tToy Story\n");
    let out = folder.path().join("log");
    let manifest = import_with(&data, "", &out, 2).unwrap();
    assert_eq!(events(&out)["item_id"], some(&["3", "2"]));
    assert_eq!(read(&out.join("items.parquet"))["title"], some(&["Toy Story"]));
    assert_eq!(manifest.inputs.len(), 3);
    assert!(!manifest.decisions.iter().any(|d| d.contains("not read")), "{manifest:?}");
}

#[test]
fn pairs_and_sequences_have_an_order_and_no_time() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("log");
    for (text, config, users, items) in [
        ("1 7\n1 8\n2 7\n", "", ["1", "1", "2"], ["7", "8", "7"]),
        ("1 7 8\n2 7\n", "", ["1", "1", "2"], ["7", "8", "7"]),
        ("7 8\n7\n", "[data]\nformat = \"item-sequences\"", ["1", "1", "2"], ["7", "8", "7"]),
    ] {
        let input = folder.path().join("in.txt");
        fs::write(&input, text).unwrap();
        let manifest = import_with(&input, config, &out, 2).unwrap();
        let rows = events(&out);
        assert_eq!(rows["user_id"], some(&users), "{text}");
        assert_eq!(rows["item_id"], some(&items), "{text}");
        assert_eq!(rows["timestamp"], rows["row_number"]);
        assert!(!manifest.has_time && out.join("events/month=none").is_dir());
    }
}

#[test]
fn sessions_stand_for_users_where_there_are_none() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("clicks.txt"), folder.path().join("log"));
    fs::write(&input, "SessionId\tItemId\tTime\n3\t214\t1396437466.94\n").unwrap();
    import_with(&input, "", &out, 1).unwrap();
    let rows = events(&out);
    assert_eq!((&rows["user_id"], &rows["session_id"]), (&some(&["3"]), &some(&["3"])));
    assert_eq!(rows["timestamp"], some(&["1396437466940"]));
}

#[test]
fn many_files_become_one_log_and_rows_are_numbered_through() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("b.csv"), "item,user,ts\nj,v,1700000001\n").unwrap();
    fs::write(data.join("a.csv"), "user,item,ts,color\nu,,1700000000,x\nu,i,1700000000,red\n")
        .unwrap();
    fs::write(data.join("README"), "not data").unwrap();
    let out = folder.path().join("log");
    let manifest = import_with(&data, "[data]\nmax_bad_rows = 0.5", &out, 2).unwrap();
    let rows = events(&out);
    assert_eq!(rows["user_id"], some(&["u", "v"]));
    assert_eq!(rows["row_number"], some(&["1", "2"]));
    assert_eq!(rows["color"], [Some("red".to_owned()), None]);
    let names: Vec<_> = manifest.inputs.iter().map(|input| input.name.as_str()).collect();
    assert_eq!(names, ["a.csv", "b.csv"]);
}

#[test]
fn json_lines_keep_late_keys_and_nested_values() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.jsonl"), folder.path().join("log"));
    let text = "{\"user_id\":1,\"item_id\":\"a\",\"event\":\"view\",\"timestamp\":1700000000}\n\
                {\"user_id\":\"é\",\"item_id\":2,\"event\":\"buy\",\"timestamp\":1700000001.5,\
                \"more\":{\"x\":[1,true]},\"price\":2}\n";
    fs::write(&input, text).unwrap();
    import_with(&input, "", &out, 2).unwrap();
    let rows = events(&out);
    assert_eq!(rows["user_id"], some(&["1", "é"]));
    assert_eq!(rows["timestamp"], some(&["1700000000000", "1700000001500"]));
    assert_eq!(rows["more"], [None, Some("{\"x\":[1,true]}".to_owned())]);
    assert_eq!(rows["price"], [None, Some("2.0".to_owned())]);
}

#[test]
fn init_writes_a_configuration_that_imports_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("log"));
    let text = "InvoiceNo;StockCode;Quantity;InvoiceDate;Cust \"X\"\n1;a;1;2010-12-01 08:26:00;7\n";
    fs::write(&input, text).unwrap();
    let open = init_from(&input).unwrap();
    assert!(open.open[0].contains("no column for user_id"), "{open:?}");
    assert!(open.toml.contains("\n# user_id = \"\"   # not found; one of "), "{}", open.toml);
    config::parse_toml(&open.toml).unwrap();
    fs::write(&input, text.replace("Cust \"X\"", "customer-id")).unwrap();
    let report = init_from(&input).unwrap();
    assert!(report.findings.iter().any(|finding| finding.contains("UTC")), "{report:?}");
    let checked = config::parse_toml(&report.toml).unwrap();
    assert_eq!(checked.columns["user_id"], "customer-id");
    assert_eq!(import_with(&input, &report.toml, &out, 1).unwrap().n_rows, 1);
}

#[test]
fn init_guesses_the_form_of_times_and_leaves_lines_for_columns_that_it_does_not_know() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("log"));
    fs::write(&input, "会员编号,商品编号,行为,发生时间\n王,茶杯,下单,31.12.2010 8:26\n").unwrap();
    let report = init_from(&input).unwrap();
    assert!(report.open.is_empty(), "{report:?}");
    import_with(&input, &report.toml, &out, 1).unwrap();
    let rows = events(&out);
    assert_eq!(rows["event"], some(&["purchase"]));
    assert_eq!(rows["timestamp"], some(&["1293783960000"]));

    fs::write(&input, "wer;was;wann\na;b;2024/01/01 00:00:00\n").unwrap();
    let report = init_from(&input).unwrap();
    assert!(report.open[0].contains("no column for user_id, item_id, timestamp"), "{report:?}");
    let filled = ["user_id", "item_id", "timestamp"].iter().zip(["wer", "was", "wann"]).fold(
        report.toml,
        |toml, (ours, theirs)| {
            toml.replace(&format!("# {ours} = \"\""), &format!("{ours} = \"{theirs}\""))
        },
    );
    let error = import_with(&input, &filled, &out, 1).unwrap_err().to_string();
    assert!(error.contains("state no zone"), "{error}");
    let filled = filled.replace("# time_zone", "time_zone");
    assert_eq!(
        import_with(&input, &filled, &out, 1).unwrap().time_range_ms.unwrap().0,
        1_704_067_200_000
    );
}

#[test]
fn every_default_that_init_shows_is_a_valid_setting() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("in.csv");
    fs::write(&input, "user_id,item_id,event,ts\nu,i,view,1700000000\n").unwrap();
    let toml = init_from(&input).unwrap().toml;
    let mut section = String::new();
    let mut n_shown = 0;
    for line in toml.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
        }
        let Some((key, _)) = line.strip_prefix("# ").and_then(|line| line.split_once(" = ")) else {
            continue;
        };
        if key.contains(|c: char| !(c.is_ascii_lowercase() || c == '_')) {
            continue;
        }
        n_shown += 1;
        let text = format!("[{section}]\n{}\n", &line[2..]);
        let is_ours = config::parse_toml(&text).map(|_| ());
        is_ours.unwrap_or_else(|error| panic!("{text}: {error}"));
        let value: toml::Table = toml::from_str(&text).unwrap();
        let inner = value[&section].clone();
        match section.as_str() {
            "prepare" => drop(inner.try_into::<RawPrepareConfig>().unwrap()),
            "split" => drop(inner.try_into::<RawSplitConfig>().unwrap()),
            _ => {}
        }
    }
    assert!(n_shown > 25, "{n_shown}");
}

#[test]
fn validation_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let (input, out) = (folder.path().join("in.csv"), folder.path().join("log"));
    let mut text = String::from("user_id,item_id,event,timestamp,event_id\n");
    for n in 0..1001 {
        text += &format!("bot,i{},view,17000{:05},e{n}\n", n % 7, n);
    }
    text += "u,i1,zoom,1710000000,x\nu,i1,zoom,1710000000,x\nv,i2,view,1720000000,y\n";
    fs::write(&input, text).unwrap();
    import_with(&input, "", &out, 2).unwrap();
    let scratch = folder.path().to_owned();
    let resources = Resources { memory_limit_bytes: Some(1 << 30), n_threads: 2, scratch };
    let report = validate(&out, &ValidateConfig::default(), &resources).unwrap();
    let of = |name: &str| {
        let check = report.checks.iter().find(|check| check.name == name);
        let check = check.unwrap_or_else(|| panic!("no check {name}"));
        (check.level.to_string(), check.value.clone())
    };
    assert_eq!((report.n_rows, report.n_users, report.n_items), (1004, 3, 7));
    assert_eq!(of("rows").0, "PASS");
    assert_eq!(of("bots").0, "WARN");
    assert!(of("bots").1.starts_with("1 "));
    assert_eq!(of("unknown_events"), ("WARN".into(), "zoom".into()));
    assert!(of("duplicate_event_ids").1.starts_with("1 "));
    assert!(of("exact_duplicates").1.starts_with("1 "));
    assert_eq!(of("gaps").0, "WARN");
    assert_eq!(of("guests").0, "PASS");
    assert_eq!(report.n_failed(), 0);
}
