//! `demo support`: what customers ask.

use std::path::{Path, PathBuf};
use std::time::Instant;

use forecart_data::storage::{Scratch, write_file};
use forecart_data::{IntentTable, Part};
use forecart_eval::report::IntentReport;
use forecart_models::model_file::IntentModelFile;
use forecart_models::support::registry;
use forecart_prepare::DataConfig;
use forecart_prepare::config::{RawDataConfig, RawEventsConfig};
use forecart_prepare::texts::{RawTextConfig, TextConfig, TextFiles, prepare_texts};
use forecart_train::{
    IntentContestant, IntentGiven, IntentMeasuring, measure_intent_models, train_intents,
};

use super::super::evaluate::{commit, write_report};
use super::super::{Context, support};
use super::step;
use crate::args::DemoArgs;
use crate::output;

/// BANKING77, complete, as it is published in two parts: see NOTICE.
const BANKING77: [(&str, &[u8]); 2] = [
    ("banking77_train.parquet", include_bytes!("../../../../../samples/banking77_train.parquet")),
    ("banking77_test.parquet", include_bytes!("../../../../../samples/banking77_test.parquet")),
];

/// What customers of an online shop ask in Chinese, written for this program: see NOTICE.
const CHINESE: (&str, &[u8]) =
    ("support_zh.csv", include_bytes!("../../../../../samples/support_zh.csv"));

/// The intent of texts that ask for none.
const NONE: &str = "none";

/// Texts that no table has: three that ask for something, one of them with a number that nobody needs to see, and one that a shop has no answer to.
const ASKED: [&str; 4] = [
    "我的快递三天没动了，什么时候能到",
    "我不想要了能取消吗，电话13912345678",
    "衣服发错颜色了，要黑的给了白的",
    "太阳离地球有多远🌞",
];

pub(super) fn run(context: &Context, arguments: &DemoArgs) -> anyhow::Result<()> {
    let started = Instant::now();
    let out = &arguments.out;
    let scratch = Scratch::new(out)?;
    let written = |(name, bytes): (&str, &[u8])| -> anyhow::Result<PathBuf> {
        let path = scratch.path().join(name);
        write_file(&path, bytes)?;
        Ok(path)
    };
    step(context, "1  what do customers of a bank ask? BANKING77, 77 intents in English")?;
    let [train, test] = BANKING77.map(written);
    let english = Texts {
        name: "banking77",
        train: train?,
        test: Some(test?),
        config: RawTextConfig::default(),
    };
    let english = english.train(context, out)?;

    step(
        context,
        "2  what do customers of a shop ask, in Chinese? 14 intents, 22 texts of each, and some that ask for none of them",
    )?;
    let config = RawTextConfig {
        out_of_scope: vec![NONE.to_owned()],
        test: 0.25,
        ..RawTextConfig::default()
    };
    let chinese = Texts { name: "support_zh", train: written(CHINESE)?, test: None, config };
    let chinese = chinese.train(context, out)?;
    if context.json {
        let reports = [("banking77", &english.report), ("support_zh", &chinese.report)];
        return output::json(&reports.into_iter().collect::<std::collections::BTreeMap<_, _>>());
    }

    step(context, "3  four texts that it has not seen; what is in doubt is left to a person")?;
    support::print_answers(&chinese.file, &ASKED, 2)?;
    step(context, &format!("4  why? {}", ASKED[0]))?;
    support::Explained::new(&chinese.file, ASKED[0])?.print(5)?;
    output::line(&format!(
        "pages: {}, {}; ask: forecart classify --model {} \"...\"\nall of it took {:.1} s",
        out.join("banking77-report/report.html").display(),
        out.join("support_zh-report/report.html").display(),
        out.join("support_zh.forecart").display(),
        started.elapsed().as_secs_f64(),
    ))
}

/// Files of texts on their way to a model.
struct Texts {
    name: &'static str,
    train: PathBuf,
    test: Option<PathBuf>,
    config: RawTextConfig,
}

/// What came of them.
struct Trained {
    report: IntentReport,
    file: IntentModelFile,
}

impl Texts {
    /// Prepares them, trains the default model, and measures it beside the baselines.
    fn train(self, context: &Context, out: &Path) -> anyhow::Result<Trained> {
        let folder = out.join(self.name);
        let data = DataConfig::try_from((RawDataConfig::default(), RawEventsConfig::default()))?;
        let config = TextConfig::try_from(self.config)?;
        let files =
            TextFiles { train: &[self.train], validation: None, test: self.test.as_deref() };
        let texts = prepare_texts(files, &data, &config, &folder, &context.display)?;
        context.display.end();
        if !context.json {
            support::print_texts(&texts)?;
        }
        let table = IntentTable::open(&folder)?;
        let training = support::training(context, None, None)?;
        let spec = support::spec(context, registry::DEFAULT_MODEL)?;
        let (file, _) = train_intents(&table, spec.as_ref(), &training, &context.display)?;
        file.save(&out.join(format!("{}.forecart", self.name)))?;
        let measuring = IntentMeasuring {
            title: format!("{}: support", self.name),
            commit: commit(),
            ..IntentMeasuring::new(training)
        };
        let baseline = IntentContestant::new(support::spec(context, support::BASELINE)?, true);
        let given = IntentGiven { name: registry::DEFAULT_MODEL.to_owned(), file };
        let given = [given];
        let report = measure_intent_models(
            &table,
            &[baseline],
            &given,
            Part::Test,
            &measuring,
            &context.display,
        )?;
        context.display.end();
        let page = out.join(format!("{}-report", self.name));
        write_report(&page, &report.to_html()?, &report.to_json()?)?;
        if !context.json {
            output::line(report.table().trim_end())?;
        }
        let [given] = given;
        Ok(Trained { report, file: given.file })
    }
}
