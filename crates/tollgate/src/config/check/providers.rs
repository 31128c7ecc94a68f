//! What a provider may still not say: how it is spoken to.

use tollgate_providers::Vendor;

use super::Checker;
use crate::config::build;
use crate::config::sections::Provider;

impl Checker<'_> {
    /// Whether the provider can be spoken to: its vendor, its address, and what is Azure's alone.
    pub(super) fn wire_format(&mut self, name: &str, provider: &Provider) {
        let key = |field: &str| format!("providers.{name}.{field}");
        let vendor: Vendor = match provider.vendor.parse() {
            Ok(vendor) => vendor,
            Err(error) => return self.problem(key("vendor"), error),
        };
        let settings = [("api_version", provider.api_version.is_some()), ("credential", provider.credential.is_some())];
        let strange: Vec<&str> = settings.iter().filter(|(_, given)| *given).map(|(field, _)| *field).collect();
        if vendor != Vendor::Azure && !strange.is_empty() {
            let reason = format!("this is for azure alone, and the vendor is {}; remove it", vendor.as_str());
            return strange.into_iter().for_each(|field| self.problem(key(field), reason.clone()));
        }
        if vendor == Vendor::Azure && provider.base_url.is_none() {
            let reason = "azure has an address for each resource; set it, such as https://my-resource.openai.azure.com";
            return self.problem(key("base_url"), reason);
        }
        if let Err(error) = build::deployment_of(name, provider, "model") {
            let field = if error.contains("`api_version`") { "api_version" } else { "base_url" };
            self.problem(key(field), error);
        }
    }
}
