//! Local measuring.
use forecart_prepare::*;
use std::path::PathBuf;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let start = std::time::Instant::now();
    match args[1].as_str() {
        "generate" => {
            let config = GenerateConfig::of(args[2].parse().unwrap(), 1);
            let file = std::fs::File::create(&args[3]).unwrap();
            generate(&config, file).unwrap();
        }
        "import" => {
            let text = std::env::var("CONFIG").unwrap_or_default();
            let config = match config::parse_toml(&text) {
                Ok(c) => c,
                Err(e) => {
                    println!("ERR {e}");
                    std::process::exit(2)
                }
            };
            let mut resources = Resources::of_machine();
            if let Ok(n) = std::env::var("THREADS") {
                resources.n_threads = n.parse().unwrap();
            }
            resources.memory_limit_bytes = Some(2 << 30);
            let inputs: Vec<PathBuf> = args[3..].iter().map(PathBuf::from).collect();
            match import(&inputs, &config, args[2].as_ref(), &resources, &forecart_data::Silent) {
                Ok(m) => {
                    println!(
                        "{} rows {} rejected {} users {} items, guests {}, time {:?}",
                        m.n_rows, m.n_rejected, m.n_users, m.n_items, m.n_guests, m.time_range_ms
                    );
                    println!(
                        "{:?}\n{:?}\n{:?}",
                        m.decisions,
                        m.columns
                            .iter()
                            .map(|c| format!("{}->{}", c.theirs, c.ours))
                            .collect::<Vec<_>>(),
                        m.extra_columns
                    );
                    println!(
                        "{:?}",
                        m.events
                            .iter()
                            .map(|e| format!("{}={}", e.name, e.n_rows))
                            .collect::<Vec<_>>()
                    );
                    for r in m.rejected.iter().chain(&m.warnings) {
                        println!(
                            "{} {} {:?}",
                            r.code,
                            r.n_rows,
                            r.examples.first().map(ToString::to_string)
                        );
                    }
                }
                Err(e) => println!("ERR data={} usage={} {e}", e.is_data_invalid(), e.is_usage()),
            }
        }
        "validate" => {
            let r = validate(
                args[2].as_ref(),
                &ValidateConfig::default(),
                &Resources { memory_limit_bytes: Some(2 << 30), ..Resources::of_machine() },
            );
            match r {
                Ok(r) => {
                    for c in &r.checks {
                        println!("{} {} {} {}", c.level, c.name, c.value, c.detail)
                    }
                }
                Err(e) => println!("ERR {e}"),
            }
        }
        "init" => match init_from(args[2].as_ref()) {
            Ok(r) => println!("{}\n{:#?}", r.toml, r.findings),
            Err(e) => println!("ERR {e}"),
        },
        _ => {}
    }
    println!("{:.3} s", start.elapsed().as_secs_f64());
}
