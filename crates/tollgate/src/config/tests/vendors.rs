//! Vendors that want to be told more than an address and a key.

use tollgate_providers::{ApiKey, KeySource};

use super::*;

fn served(provider: &str, deployment: &str) -> String {
    format!("[providers.p]\nfree = true\n{provider}\n[models.m]\ndeployments = [{{ provider = \"p\", {deployment} }}]")
}

#[test]
fn azure_is_an_address_a_version_and_a_way_to_send_the_key() {
    let azure = "vendor = \"azure\"\nbase_url = \"https://r.openai.azure.com\"\n";
    let env = Env::of([("AZURE_OPENAI_API_KEY", "k")]);
    let address = |provider: &str| {
        let config = loaded(&served(provider, "model = \"gpt-4o\"")).config;
        let routes = build::routes(&config, &env).expect("it can be served");
        routes.of("m")[0].deployment.endpoint().to_owned()
    };
    assert_eq!(address(azure), "https://r.openai.azure.com/openai/v1/chat/completions");
    let dated = format!("{azure}api_version = \"2024-10-21\"\ncredential = \"bearer\"");
    let expected = "https://r.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21";
    assert_eq!(address(&dated), expected);
    let config = loaded(&served(&dated, "model = \"gpt-4o\"")).config;
    let deployment = build::deployment_of("p", &config.providers["p"], "gpt-4o").expect("valid");
    let (listing, headers) = deployment.listing(ApiKey::new("k").ok().as_ref());
    assert_eq!(listing, "https://r.openai.azure.com/openai/models?api-version=2024-10-21");
    assert!(headers.contains_key("authorization") && !headers.contains_key("api-key"), "{headers:?}");
}

#[test]
fn azures_variable_is_read_for_azures_own_hosts_alone() {
    let source = |base_url: &str| {
        let text = format!("[providers.p]\nfree = true\nvendor = \"azure\"\nbase_url = \"{base_url}\"");
        let sources = build::key_sources(&loaded(&text).config.providers["p"]);
        sources.into_iter().next().map(|(_, source)| source)
    };
    let own = Some(KeySource::Env("AZURE_OPENAI_API_KEY".into()));
    assert_eq!(source("https://r.openai.azure.com"), own);
    assert_eq!(source("https://r.services.ai.azure.com/openai/v1/"), own);
    for other in
        ["http://r.openai.azure.com", "https://r.openai.azure.com.example", "https://gateway.example/openai.azure.com"]
    {
        assert_eq!(source(other), None, "{other}");
    }
}

#[test]
fn a_model_at_azure_has_a_list_price_only_where_somebody_says_so() {
    let azure = "vendor = \"azure\"\nbase_url = \"https://r.openai.azure.com\"\n";
    let priced = |more: &str| {
        let text = served(&format!("{azure}{more}"), "model = \"gpt-4o\"").replace("free = true\n", "");
        let warnings = loaded(&text).warnings;
        warnings.iter().all(|warning| !warning.to_string().contains("it has no price"))
    };
    assert!(!priced(""), "a deployment may have any name");
    assert!(priced("prices_as = \"azure\""));
}

#[test]
fn settings_of_one_vendor_are_refused_at_the_others() {
    for (provider, deployment, says) in [
        (
            "api_version = \"2024-10-21\"",
            "",
            "line 3: providers.p.api_version: this is for azure alone, and the vendor is openai",
        ),
        ("vendor = \"xai\"\ncredential = \"bearer\"", "", "line 4: providers.p.credential: this is for azure alone"),
        ("vendor = \"azure\"", "", "providers.p.base_url: azure has an address for each resource"),
        (
            "vendor = \"azure\"\nbase_url = \"https://r.openai.azure.com\"\napi_version = \"2024 10\"",
            "",
            "line 5: providers.p.api_version: `api_version` is not a version",
        ),
        ("vendor = \"ollama\"", ", context_tokens = 0", "context_tokens: 0 is not from 1 up"),
    ] {
        let problems = refused(&served(provider, &format!("model = \"x\"{deployment}")));
        assert!(problems.len() == 1 && problems[0].contains(says), "{provider}: {problems:?}");
    }
}

#[test]
fn ollama_needs_no_key_and_is_told_its_context() {
    let config = loaded(&served("vendor = \"ollama\"", "model = \"llama3.2\", context_tokens = 8192")).config;
    let routes = build::routes(&config, &Env::default()).expect("it can be served without a key");
    let deployment = &routes.of("m")[0].deployment;
    assert_eq!((deployment.endpoint(), deployment.context_tokens), ("http://127.0.0.1:11434/api/chat", Some(8192)));
}

#[test]
fn every_vendor_with_an_address_of_its_own_is_served_by_its_name() {
    for (vendor, variable) in [("mistral", "MISTRAL_API_KEY"), ("xai", "XAI_API_KEY")] {
        let config = loaded(&format!("[providers.p]\nvendor = \"{vendor}\"")).config;
        let routes = build::routes(&config, &Env::of([(variable, "k")])).expect("it can be served");
        assert_eq!(routes.names().count(), models::of_vendor(vendor).count());
        let missing = build::routes(&config, &Env::default()).expect_err("the key is missing");
        assert!(missing[0].to_string().contains(variable), "{}", missing[0]);
    }
}
