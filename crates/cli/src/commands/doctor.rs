//! `doctor`: what would keep this machine and this set-up from serving well.

use forecart_serve::{Finding, ServeConfig, Severity};

use super::{Context, serve};
use crate::args::ServeArgs;
use crate::output;

/// Less memory than this is soon used up by a catalog and a model.
const LITTLE_MEMORY_BYTES: u64 = 1 << 30;

pub(crate) fn run(context: &Context, arguments: &ServeArgs) -> anyhow::Result<()> {
    let raw = serve::raw_config(context, arguments);
    let retrain = raw.retrain.clone();
    let mut findings = vec![processor(context)];
    findings.extend(memory());
    match ServeConfig::new(raw, context.config.threads()) {
        Err(error) => findings.push(Finding::failed(
            "configuration",
            error.to_string(),
            "a server does not start with it",
        )),
        Ok(config) => {
            findings.push(match serve::retrain_plan(context, &retrain, &config) {
                Err(error) => {
                    Finding::failed("retraining", error.to_string(), "a server does not start so")
                }
                Ok(plan) => {
                    match plan.schedule.and_then(|own| own.next_after(jiff::Timestamp::now())) {
                        Some(next) => Finding::ok("retraining", format!("next at {next:.0}")),
                        None => Finding::ok("retraining", "only when it is asked for"),
                    }
                }
            });
            findings.extend(serve::runtime()?.block_on(forecart_serve::examine(&config)));
        }
    }
    let n_failed = findings.iter().filter(|own| own.severity == Severity::Failed).count();
    if context.json {
        output::json(&serde_json::json!({"n_failed": n_failed, "findings": findings}))?;
    } else {
        let rows: Vec<Vec<String>> = findings.iter().map(row).collect();
        output::line(&output::table(&["", "check", "found", "what helps"], &rows, usize::MAX))?;
    }
    if n_failed > 0 {
        anyhow::bail!("{n_failed} of {} checks failed", findings.len());
    }
    Ok(())
}

fn row(finding: &Finding) -> Vec<String> {
    let mark = match finding.severity {
        Severity::Ok => "ok",
        Severity::Warning => "look",
        Severity::Failed => "FAILED",
    };
    let Finding { check, found, advice, .. } = finding;
    vec![mark.to_owned(), check.clone(), found.clone(), advice.clone().unwrap_or_default()]
}

fn processor(context: &Context) -> Finding {
    let n_threads = context.config.threads();
    #[cfg(target_arch = "x86_64")]
    {
        let is_wide = std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("fma");
        if !is_wide {
            let advice =
                "models answer several times slower: choose a machine of the last ten years";
            return Finding::warning(
                "processor",
                format!("{n_threads} threads, without AVX2"),
                advice,
            );
        }
        let widest =
            if std::arch::is_x86_feature_detected!("avx512f") { "AVX-512" } else { "AVX2" };
        Finding::ok("processor", format!("{n_threads} threads, {widest}"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    Finding::ok("processor", format!("{n_threads} threads"))
}

/// What Linux says is available; nothing elsewhere.
fn memory() -> Option<Finding> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let available: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let bytes = available << 10;
    let found = format!("{:.1} GB are available", bytes as f64 / 1e9);
    Some(if bytes < LITTLE_MEMORY_BYTES {
        Finding::warning("memory", found, "100,000 items and a model take about half a gigabyte")
    } else {
        Finding::ok("memory", found)
    })
}
