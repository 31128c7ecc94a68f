//! What models, their deployments and teams' access may not say, and what becomes of them.

use tollgate_policy::routing::Strategy;

use super::*;

const PROVIDER: &str = "[providers.p]\nfree = true\nbase_url = \"http://127.0.0.1:9/v1\"\nregion = \"us\"\n";

fn model(text: &str) -> String {
    format!("{PROVIDER}[models.n]\ndeployments = [{{ provider = \"p\", model = \"n\" }}]\n[models.m]\n{text}")
}

#[test]
fn what_a_model_may_not_say_is_named() {
    let one = "deployments = [{ provider = \"p\", model = \"x\" }]";
    for (text, says) in [
        ("deployments = []".to_owned(), "models.m.deployments: nothing serves this model"),
        (
            "routing = \"weighted\"\ndeployments = [{ provider = \"p\", model = \"x\", weight = 0 }]".to_owned(),
            "models.m.routing: every weight is 0",
        ),
        (format!("{one}\ncontext_tokens = 0"), "models.m.context_tokens: 0 is not from 1 up"),
        (format!("{one}\nfallbacks = [\"m\"]"), "models.m.fallbacks: a model cannot stand in for itself"),
        (
            format!("{one}\non_context_length = [\"huge\"]"),
            "models.m.on_context_length: nothing serves the model 'huge'",
        ),
        (
            "deployments = [{ provider = \"p\", model = \"x\", tags = [\"a b\"] }]".to_owned(),
            "models.m.deployments.0.tags: it has at most 16 tags",
        ),
        (
            "deployments = [{ provider = \"p\", model = \"x\", region = \"\" }]".to_owned(),
            "models.m.deployments.0.region: a region has 1 to 64",
        ),
        (
            "deployments = [{ provider = \"p\", model = \"x\", price = { input = \"1\" } }]".to_owned(),
            "models.m.deployments.0.price.output",
        ),
        (
            format!(
                "{one}\nprice = {{ input = \"1\", output = \"1\", long_prompts = [{{ above_prompt_tokens = 0, input = \"1\", output = \"1\" }}] }}"
            ),
            "models.m.price.long_prompts",
        ),
    ] {
        let problems = refused(&model(&text));
        assert!(problems.len() == 1 && problems[0].contains(says), "{text}: {problems:?}");
    }
}

#[test]
fn a_team_that_is_held_to_what_is_not_there_is_warned_of() {
    let warnings = |team: &str| {
        let text = format!("{}\n[teams.t]\n{team}", model("deployments = [{ provider = \"p\", model = \"x\" }]"));
        loaded(&text).warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(warnings("models = [\"m\", \"x*\"]\nproviders = [\"p\"]\nregions = [\"us\"]").is_empty());
    assert!(warnings("models = [\"q\"]")[0].contains("teams.t.models: nothing serves the model 'q'"));
    assert!(warnings("providers = [\"q\"]")[0].contains("teams.t.providers: there is no provider 'q'"));
    assert!(warnings("regions = [\"eu\"]")[0].contains("teams.t.regions: no deployment of this file is in eu"));
}

#[test]
fn what_a_deployment_says_wins_over_its_model_and_its_provider_and_the_catalogue() {
    let text = format!(
        "{PROVIDER}[providers.oa]\nprices_as = \"openai\"\nbase_url = \"http://127.0.0.1:9/v1\"\n\
         [models.m]\nrouting = \"lowest_cost\"\noutput_tokens_max = 100\n\
         deployments = [{{ provider = \"oa\", model = \"gpt-4o\" }}, {{ provider = \"p\", model = \"x\", region = \"eu\", \
         context_tokens = 5, output_tokens_max = 6, weight = 7, tags = [\"gpu\"], price = {{ input = \"1\", output = \"2\" }} }}]"
    );
    let config = loaded(&text).config;
    let routes = build::served(&config, &build::Rings::default());
    assert_eq!(routes.serving("m").expect("served").strategy, Strategy::LowestCost);
    let [listed, own] = routes.of("m") else { panic!("two deployments") };
    assert_eq!(
        (listed.context_tokens, listed.output_tokens_max, listed.deployment.region.as_str()),
        (Some(128_000), 100, "")
    );
    assert_eq!((own.context_tokens, own.output_tokens_max, own.deployment.region.as_str()), (Some(5), 6, "eu"));
    let price = own.price.as_ref().expect("its own");
    assert_eq!((own.weight, own.tags.len(), price.tiers()[0].output), (7, 1, 2_000_000));
}
