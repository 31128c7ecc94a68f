//! What the built-in rules find.

use std::fmt;

/// Declares the entities: what each is, its name in configurations, what placeholders say, and its group.
macro_rules! entities {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $label:literal, $group:ident;)+) => {
        /// What a built-in rule finds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Entity {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Entity {
            /// All of them, grouped.
            pub const ALL: &[Entity] = &[$(Entity::$variant,)+];

            /// The rule's name in configurations, such as `payment_card`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Entity::$variant => $name,)+
                }
            }

            /// What a placeholder says, such as `PAYMENT_CARD`.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Entity::$variant => $label,)+
                }
            }

            /// What it finds, in a sentence.
            #[must_use]
            pub fn finds(self) -> &'static str {
                match self {
                    $(Entity::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }

            /// The group that it can be named by.
            #[must_use]
            pub fn group(self) -> Group {
                match self {
                    $(Entity::$variant => Group::$group,)+
                }
            }
        }
    };
}

entities! {
    /// The number of a payment card, by its issuer's range, length and check digit.
    PaymentCard, "payment_card", "PAYMENT_CARD", Pii;
    /// An international bank account number, by its country's format and check digits.
    Iban, "iban", "IBAN", Pii;
    /// A routing number of a bank in the United States, next to a word that says so.
    UsBankRouting, "us_bank_routing", "US_BANK_ROUTING", Pii;
    /// A social security number of the United States.
    UsSsn, "us_ssn", "US_SSN", Pii;
    /// An individual taxpayer identification number of the United States.
    UsItin, "us_itin", "US_ITIN", Pii;
    /// A number of the British National Health Service, next to a word that says so.
    UkNhs, "uk_nhs", "UK_NHS", Pii;
    /// A British national insurance number.
    UkNino, "uk_nino", "UK_NINO", Pii;
    /// A Canadian social insurance number, next to a word that says so.
    CaSin, "ca_sin", "CA_SIN", Pii;
    /// An Australian tax file number, next to a word that says so.
    AuTfn, "au_tfn", "AU_TFN", Pii;
    /// An Australian business number.
    AuAbn, "au_abn", "AU_ABN", Pii;
    /// The number of an Australian Medicare card.
    AuMedicare, "au_medicare", "AU_MEDICARE", Pii;
    /// A German tax identification number.
    DeTaxId, "de_tax_id", "DE_TAX_ID", Pii;
    /// The number of a Spanish identity card.
    EsDni, "es_dni", "ES_DNI", Pii;
    /// A Spanish foreigner's identity number.
    EsNie, "es_nie", "ES_NIE", Pii;
    /// A French social security number.
    FrNir, "fr_nir", "FR_NIR", Pii;
    /// An Italian fiscal code.
    ItCodiceFiscale, "it_codice_fiscale", "IT_CODICE_FISCALE", Pii;
    /// A Polish personal number, next to a word that says so.
    PlPesel, "pl_pesel", "PL_PESEL", Pii;
    /// A Brazilian taxpayer number of a person.
    BrCpf, "br_cpf", "BR_CPF", Pii;
    /// A Brazilian taxpayer number of a company.
    BrCnpj, "br_cnpj", "BR_CNPJ", Pii;
    /// An Indian identity number.
    InAadhaar, "in_aadhaar", "IN_AADHAAR", Pii;
    /// An Indian permanent account number.
    InPan, "in_pan", "IN_PAN", Pii;
    /// A number of the national registration of Singapore.
    SgNric, "sg_nric", "SG_NRIC", Pii;
    /// A Dutch citizen service number.
    NlBsn, "nl_bsn", "NL_BSN", Pii;
    /// A Swedish personal identity number.
    SePersonnummer, "se_personnummer", "SE_PERSONNUMMER", Pii;
    /// A Finnish personal identity code.
    FiHetu, "fi_hetu", "FI_HETU", Pii;
    /// A Swiss social insurance number.
    ChAhv, "ch_ahv", "CH_AHV", Pii;
    /// A South African identity number.
    ZaId, "za_id", "ZA_ID", Pii;
    /// A Korean resident registration number.
    KrRrn, "kr_rrn", "KR_RRN", Pii;
    /// A Chinese resident identity number.
    CnResidentId, "cn_resident_id", "CN_RESIDENT_ID", Pii;
    /// A Turkish identification number, next to a word that says so.
    TrTckn, "tr_tckn", "TR_TCKN", Pii;
    /// The number of a passport, next to a word that says so.
    Passport, "passport", "PASSPORT", Pii;
    /// The number of a driving licence, next to a word that says so.
    DrivingLicence, "driving_licence", "DRIVING_LICENCE", Pii;
    /// An e-mail address.
    Email, "email", "EMAIL", Pii;
    /// A phone number that its country's numbering plan has room for.
    Phone, "phone", "PHONE", Pii;
    /// An IPv4 address.
    Ipv4, "ipv4", "IPV4", Pii;
    /// An IPv6 address.
    Ipv6, "ipv6", "IPV6", Pii;
    /// The hardware address of a network interface.
    MacAddress, "mac_address", "MAC_ADDRESS", Pii;
    /// An address of a cryptocurrency.
    CryptoAddress, "crypto_address", "CRYPTO_ADDRESS", Pii;
    /// A date next to a word that says that somebody was born on it.
    DateOfBirth, "date_of_birth", "DATE_OF_BIRTH", Pii;
    /// A password or key within a URL.
    UrlCredentials, "url_credentials", "URL_CREDENTIALS", Secrets;
    /// A private key, from its first line to its last.
    PrivateKey, "private_key", "PRIVATE_KEY", Secrets;
    /// A key of a service whose keys have a form of their own.
    ApiKey, "api_key", "API_KEY", Secrets;
    /// A JSON web token.
    Jwt, "jwt", "JWT", Secrets;
    /// What is said to be a password.
    Password, "password", "PASSWORD", Secrets;
    /// What is said to be a key or token and looks random.
    GenericSecret, "generic_secret", "GENERIC_SECRET", Secrets;
    /// Words that try to take the place of the instructions: a tripwire.
    PromptInjection, "prompt_injection", "PROMPT_INJECTION", PromptSafety;
    /// Words that try to talk a model out of its rules: a tripwire.
    Jailbreak, "jailbreak", "JAILBREAK", PromptSafety;
}

/// What entities are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// What says who somebody is.
    Pii,
    /// What opens a door.
    Secrets,
    /// What tries to turn a model against its user.
    PromptSafety,
}

impl Group {
    /// All of them.
    pub const ALL: &[Group] = &[Group::Pii, Group::Secrets, Group::PromptSafety];

    /// The group's name in configurations.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Group::Pii => "pii",
            Group::Secrets => "secrets",
            Group::PromptSafety => "prompt_safety",
        }
    }
}

impl Entity {
    /// The entity whose rule has this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Entity> {
        Entity::ALL.iter().copied().find(|entity| entity.as_str() == name)
    }

    /// What it adds to the risk of a job by itself, of 100.
    ///
    /// Secrets and tripwires weigh more than personal data, addresses of machines less.
    #[must_use]
    pub fn weight(self) -> u8 {
        match self {
            Entity::Ipv4 | Entity::Ipv6 | Entity::MacAddress => 5,
            Entity::Email | Entity::Phone | Entity::AuAbn | Entity::BrCnpj => 10,
            Entity::GenericSecret => 30,
            _ => match self.group() {
                Group::Pii => 25,
                Group::Secrets => 40,
                Group::PromptSafety => 50,
            },
        }
    }
}

impl fmt::Display for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_is_found_by_its_name_and_labelled_by_it_in_capitals() {
        for &entity in Entity::ALL {
            assert_eq!(Entity::named(entity.as_str()), Some(entity));
            assert_eq!(entity.label(), entity.as_str().to_uppercase());
        }
    }
}
