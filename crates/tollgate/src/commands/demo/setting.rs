//! What the demo's broker is configured with: a simulated provider with two priced models, or one of the user's own.

use toml::{Table, Value};

use crate::commands::Cx;
use crate::config::sections::{Config, Provider};
use crate::config::{build, models};
use crate::exit::{Code, Failure};

/// The name that the demo uses for its simulated provider.
pub(super) const SIMULATED: &str = "sim";

/// Faults of the simulated provider, so that there is something to retry: a rate limit that asks for a second, and an
/// overload.
const FAULTS: &str = "429:retry-after=1@0.03;status=503@0.03";

/// Two models with prices of a real pair, and every other name that a file may ask for.
const SIMULATED_MODELS: &str = r#"
[models."sim-small"]
deployments = [{ provider = "sim", model = "sim-small" }]
output_tokens_max = 16_384
price = { input = "0.15", cache_read = "0.075", output = "0.60", version = "demo-1" }

[models."sim-large"]
deployments = [{ provider = "sim", model = "sim-large" }]
output_tokens_max = 16_384
price = { input = "2.50", cache_read = "1.25", output = "10.00", version = "demo-1" }

[models."*"]
deployments = [{ provider = "sim", model = "sim-small" }]
output_tokens_max = 16_384
price = { input = "0.15", cache_read = "0.075", output = "0.60", version = "demo-1" }
"#;

/// What the demo runs on.
#[derive(Clone, Debug)]
pub(super) struct Setting {
    /// Lies over the configuration that the stack generates.
    pub(super) overrides: Table,
    /// What the workload asks for; the first most often.
    pub(super) models: Vec<String>,
    /// The simulated provider's faults.
    pub(super) faults: String,
}

/// The setting for a provider: the simulated one, or one by its name in the configuration; `openai` needs no
/// configuration but its key.
///
/// # Errors
/// A failure with [`Code::Usage`]: there is no such provider, or its key is missing.
pub(super) fn of(provider: &str, faults: Option<&str>, concurrency: usize, cx: &Cx) -> Result<Setting, Failure> {
    let mut setting = match provider {
        SIMULATED => Setting {
            overrides: SIMULATED_MODELS.parse().expect("a test reads it"),
            models: ["sim-small", "sim-large"].map(str::to_owned).to_vec(),
            faults: faults.unwrap_or(FAULTS).to_owned(),
        },
        name => {
            let config = cx.load()?.config;
            let settings = config.providers.get(name).cloned().or_else(|| (name == "openai").then(Provider::default));
            let settings = settings.ok_or_else(|| no_such(name, &config))?;
            build::ring(name, &settings, &cx.env).map_err(|problem| {
                let failure = Failure::new(Code::Usage, format!("{name} cannot be called: {problem}"));
                failure.try_this("set the variable that the provider's key comes from, such as OPENAI_API_KEY")
            })?;
            real(name, &settings, &config)?
        }
    };
    let worker = setting.overrides.entry("worker").or_insert_with(|| Value::Table(Table::new()));
    if let Some(worker) = worker.as_table_mut() {
        worker.insert("concurrency".into(), Value::Integer(i64::try_from(concurrency).unwrap_or(i64::MAX)));
    }
    Ok(setting)
}

fn no_such(name: &str, config: &Config) -> Failure {
    let known: Vec<&str> = config.providers.keys().map(String::as_str).chain([SIMULATED]).collect();
    let failure = Failure::new(Code::Usage, format!("there is no provider '{name}' in the configuration"));
    failure.try_this(format!("use one of: {}; or name a file with --config", known.join(", ")))
}

/// Everything that the stack would serve by simulation is served by the provider, so that nothing is simulated in
/// silence.
fn real(name: &str, provider: &Provider, config: &Config) -> Result<Setting, Failure> {
    let to_table = |value: Result<Value, toml::ser::Error>| value.expect("a section was read from a file");
    let mut served = Table::new();
    let generated =
        models::of_vendor("openai").map(|model| (model, model)).chain([("fast", "gpt-4o-mini"), ("smart", "gpt-4o")]);
    let own = build::served_as(provider).into_iter().flat_map(models::of_vendor).map(|model| (model, model));
    for (alias, model) in generated.chain(own) {
        let deployment =
            Table::from_iter([("provider".to_owned(), Value::from(name)), ("model".to_owned(), model.into())]);
        let deployments = Table::from_iter([("deployments".to_owned(), Value::Array(vec![Value::Table(deployment)]))]);
        served.insert(alias.to_owned(), Value::Table(deployments));
    }
    let mut asked: Vec<String> = Vec::new();
    for (alias, model) in &config.models {
        let mut model = model.clone();
        model.deployments.retain(|deployment| deployment.provider == name);
        if !model.deployments.is_empty() {
            served.insert(alias.clone(), to_table(Value::try_from(&model)));
            asked.push(alias.clone());
        }
    }
    let cheap = |alias: &String| alias == "gpt-4o-mini" || alias == "fast";
    if let Some(at) = asked.iter().position(cheap) {
        asked.swap(0, at);
    } else if asked.is_empty() && build::served_as(provider) == Some("openai") {
        asked.push("gpt-4o-mini".to_owned());
    } else if asked.is_empty() {
        asked.extend(build::served_as(provider).and_then(|vendor| models::of_vendor(vendor).next()).map(str::to_owned));
    }
    if asked.is_empty() {
        let failure = Failure::new(Code::Usage, format!("nothing says which models {name} serves"));
        return Err(
            failure.try_this(format!("add [models.<name>] deployments = [{{ provider = \"{name}\", model = \"…\" }}]"))
        );
    }
    asked.truncate(1);
    let providers = Table::from_iter([(name.to_owned(), to_table(Value::try_from(provider)))]);
    let mut overrides = Table::from_iter([
        ("providers".to_owned(), Value::Table(providers)),
        ("models".to_owned(), Value::Table(served)),
    ]);
    if let Some(proxy) = &config.worker.proxy {
        let worker = Table::from_iter([("proxy".to_owned(), Value::from(proxy.as_str()))]);
        overrides.insert("worker".to_owned(), Value::Table(worker));
    }
    Ok(Setting { overrides, models: asked, faults: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, load_text};
    use crate::env::Env;
    use crate::output::{Format, Output};

    fn cx(pairs: &[(&str, &str)]) -> Cx {
        let env = Env::of(pairs.iter().copied());
        Cx { overrides: Overrides::default(), output: Output::new(Format::Table, &env), env }
    }

    #[test]
    fn the_simulated_models_are_priced_and_every_other_name_is_served() {
        let mut config = of(SIMULATED, None, 8, &cx(&[])).expect("a setting").overrides;
        let sim: Table = "[sim]\nbase_url = \"http://127.0.0.1:1/v1\"".parse().expect("a table");
        config.insert("providers".into(), Value::Table(sim));
        let loaded = load_text(&config.to_string(), None, &Overrides::default(), &Env::default()).expect("it loads");
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
        assert_eq!(loaded.config.worker.concurrency, 8);
        let routes = build::routes(&loaded.config, &Env::default()).expect("no key is needed");
        assert!(["sim-small", "sim-large", "whatever"].iter().all(|model| routes.of(model)[0].price.is_some()));
    }

    #[test]
    fn openai_needs_its_key_and_nothing_else_and_serves_everything() {
        assert!(of("openai", None, 8, &cx(&[])).expect_err("no key").to_string().contains("OPENAI_API_KEY"));
        let cx = cx(&[("OPENAI_API_KEY", "sk-test")]);
        let setting = of("openai", None, 8, &cx).expect("a setting");
        assert_eq!(setting.models, ["gpt-4o-mini"]);
        let loaded = load_text(&setting.overrides.to_string(), None, &Overrides::default(), &cx.env).expect("it loads");
        let routes = build::routes(&loaded.config, &cx.env).expect("the key is there");
        assert!(["fast", "smart", "gpt-4o"].iter().all(|model| routes.of(model)[0].price.is_some()));
    }

    #[test]
    fn an_unknown_provider_is_refused_with_those_there_are() {
        assert!(of("nobody", None, 8, &cx(&[])).expect_err("there is none").to_string().contains("use one of: sim"));
    }
}
