//! `ads simulate`: what bids by a model would have bought of a log of impressions.

use forecart_data::encode::{Row as _, Value};
use forecart_data::samples::{ColumnKind, Role, SampleColumn};
use forecart_eval::auction::{Bidding, Hindsight, Opportunity, Pacing, Replay, hindsight, replay};
use forecart_models::ads::Positions;
use forecart_models::model_file::OutcomeModelFile;
use forecart_prepare::samples::SampleRows;
use serde::Serialize;

use super::super::Context;
use super::super::data::print_rows;
use crate::args::SimulateArgs;
use crate::failure::{DataInvalid, UsageError};
use crate::output::{self, count};

/// Strategies side by side.
#[derive(Debug, Serialize)]
pub(in crate::commands) struct Simulation {
    n_impressions: u64,
    budget: f64,
    rows: Vec<SimulationRow>,
    hindsight: Hindsight,
}

#[derive(Debug, Serialize)]
struct SimulationRow {
    strategy: &'static str,
    #[serde(flatten)]
    bidding: Bidding,
    #[serde(flatten)]
    replay: Replay,
    /// Share of what hindsight would have had of expected value that was not had.
    expected_regret: f64,
    /// The same of what came.
    regret: f64,
}

pub(super) fn run(context: &Context, arguments: &SimulateArgs) -> anyhow::Result<()> {
    let file = OutcomeModelFile::open(&arguments.model)?;
    let worth = Worth::new(arguments, &file)?;
    let offered = opportunities(context, arguments, &file, &worth)?;
    let found = simulated(&offered, arguments.budget)?;
    if context.json {
        return output::json(&found);
    }
    print(&found)
}

/// What each strategy would have bought.
pub(in crate::commands) fn simulated(
    offered: &[Opportunity],
    budget: f64,
) -> anyhow::Result<Simulation> {
    // The bid that would have spent the budget evenly, had all impressions cost the same.
    let mean_price = offered.iter().map(|one| one.price).sum::<f64>() / offered.len().max(1) as f64;
    let step = 1.0 / (offered.len().max(1) as f64).sqrt();
    let strategies = [
        ("value, paced", Bidding::Expected { pacing: Pacing::Adaptive { step } }),
        ("value", Bidding::Expected { pacing: Pacing::None }),
        ("constant", Bidding::Constant { bid: mean_price.max(f64::MIN_POSITIVE) }),
    ];
    let best = hindsight(offered, budget)?;
    let missed = |had: f64, most: f64| if most > 0.0 { 1.0 - had / most } else { 0.0 };
    let rows = strategies
        .into_iter()
        .map(|(strategy, bidding)| {
            let replay = replay(offered, budget, bidding)?;
            Ok(SimulationRow {
                strategy,
                bidding,
                expected_regret: missed(replay.expected, best.expected),
                regret: missed(replay.realized, best.realized),
                replay,
            })
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(Simulation { n_impressions: offered.len() as u64, budget, rows, hindsight: best })
}

pub(in crate::commands) fn print(found: &Simulation) -> anyhow::Result<()> {
    let rows: Vec<Vec<String>> = found
        .rows
        .iter()
        .map(|row| {
            let Replay { n_won, spend, n_clicks, n_conversions, expected, realized, moments } =
                &row.replay;
            let half = moments.iter().find(|moment| moment.offered >= 0.5);
            vec![
                row.strategy.to_owned(),
                count(*n_won),
                format!("{spend:.2}"),
                half.map_or_else(String::new, |half| format!("{:.0} %", 100.0 * half.spent)),
                count(*n_clicks),
                count(*n_conversions),
                format!("{expected:.2}"),
                format!("{realized:.2}"),
                format!("{:.1} %", 100.0 * row.expected_regret),
                format!("{:.1} %", 100.0 * row.regret),
            ]
        })
        .collect();
    let header = [
        "bids",
        "bought",
        "spent",
        "by half-time",
        "clicks",
        "conversions",
        "expected value",
        "value",
        "missed of expected",
        "missed",
    ];
    output::line(&output::table(&header, &rows, 1))?;
    output::line(&format!(
        "{} impressions, a budget of {}; who knew all expected values would have had {:.2} of them, who knew all outcomes {:.2}",
        count(found.n_impressions),
        found.budget,
        found.hindsight.expected,
        found.hindsight.realized,
    ))
}

/// What clicks and conversions are worth.
struct Worth {
    click: f64,
    conversion: f64,
    /// The columns that say what came of an impression.
    clicked: String,
    converted: Option<String>,
}

impl Worth {
    fn new(arguments: &SimulateArgs, file: &OutcomeModelFile) -> anyhow::Result<Self> {
        let usage = |message: String| anyhow::Error::from(UsageError(message));
        let money = [
            ("--value-per-click", Some(arguments.value_per_click)),
            ("--value-per-conversion", arguments.value_per_conversion),
        ];
        for (flag, value) in money {
            if value.is_some_and(|value| !(value > 0.0 && value.is_finite())) {
                return Err(usage(format!("{flag}: give money above 0")));
            }
        }
        if !(arguments.budget > 0.0 && arguments.budget.is_finite()) {
            return Err(usage("--budget: give money above 0".into()));
        }
        let header = file.header();
        let mut labels = header.samples.columns.iter().filter(|column| column.role == Role::Label);
        let clicked = labels.next().map(|column| column.name.clone()).unwrap_or_default();
        let converted = labels.next().map(|column| column.name.clone());
        let knows = header.serving.conversion.is_some();
        if header.task != "click" {
            let task = &header.task;
            return Err(usage(format!(
                "the model is for {task}; impressions are bid for by a model of clicks"
            )));
        }
        if arguments.value_per_conversion.is_some() && !knows {
            let model = &header.model;
            let message = format!(
                "--value-per-conversion: {model} knows nothing of conversions; train esmm on a table with a second label"
            );
            return Err(usage(message));
        }
        Ok(match arguments.value_per_conversion {
            Some(conversion) => Self { click: 0.0, conversion, clicked, converted },
            None => Self { click: arguments.value_per_click, conversion: 0.0, clicked, converted },
        })
    }
}

fn opportunities(
    context: &Context,
    arguments: &SimulateArgs,
    file: &OutcomeModelFile,
    worth: &Worth,
) -> anyhow::Result<Vec<Opportunity>> {
    let data = context.config.data(None)?;
    let config = context.config.samples(None, None)?;
    let mut columns = file.header().samples.columns.clone();
    // What came of a row is read as any other number.
    for column in &mut columns {
        if column.role == Role::Label {
            column.role = Role::Feature;
        }
    }
    let same_for_all = arguments.price.parse::<f64>().ok();
    if same_for_all.is_none() && !columns.iter().any(|column| column.name == arguments.price) {
        columns.push(SampleColumn::new(&arguments.price, ColumnKind::Number, Role::Feature));
    }
    let mut rows = SampleRows::open_with(&arguments.input, &columns, &data, &config)?;
    let mut offered = Vec::new();
    let mut n_unlabelled = 0;
    while let Some(block) = rows.next_block()? {
        let number =
            |row: &forecart_prepare::samples::OwnedRow, column: &str| match row.value(column) {
                Value::Number(number) => Some(number),
                Value::Text(text) => text.parse::<f64>().ok(),
                _ => None,
            };
        let known: Vec<_> = block
            .iter()
            .map(|row| {
                let price = same_for_all.or_else(|| number(row, &arguments.price));
                let converted = worth.converted.as_ref().and_then(|column| number(row, column));
                (row.line, price, number(row, &worth.clicked), converted)
            })
            .collect();
        // A bid is made before anybody knows where the ad will stand.
        let predictions = file.predictor().predict(block, Positions::Neutral)?;
        for ((line, price, clicked, converted), prediction) in known.into_iter().zip(predictions) {
            let Some(clicked) = clicked else {
                n_unlabelled += 1;
                continue;
            };
            let Some(price) = price.filter(|price| *price >= 0.0 && price.is_finite()) else {
                let (path, name) = (arguments.input.display(), &arguments.price);
                let message = format!(
                    "{path}, line {line}: {name:?} is no price; give a number of 0 or more"
                );
                return Err(DataInvalid(message).into());
            };
            let clicked = clicked == 1.0;
            let converted = clicked && converted == Some(1.0);
            let with_conversion =
                prediction.conversion.map_or(0.0, |conversion| conversion.with_click);
            offered.push(Opportunity {
                expected: worth.click * prediction.probability + worth.conversion * with_conversion,
                price,
                realized: worth.click * f64::from(u8::from(clicked))
                    + worth.conversion * f64::from(u8::from(converted)),
                clicked,
                converted,
            });
        }
    }
    if !context.json {
        print_rows("left out", &rows.rejected())?;
        if n_unlabelled > 0 {
            output::line(&format!(
                "  left out: {} rows whose outcome is not known",
                count(n_unlabelled)
            ))?;
        }
    }
    if offered.is_empty() {
        let path = arguments.input.display();
        let message = format!("{path}: no row says in column {:?} what came of it", worth.clicked);
        return Err(DataInvalid(message).into());
    }
    Ok(offered)
}
