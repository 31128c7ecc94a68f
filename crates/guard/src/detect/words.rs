//! The words that finders go by, each list one text so that it reads as one.

use super::literals::Pair;
use crate::Entity;

/// The words of a list.
pub(crate) fn list(words: &'static str) -> impl Iterator<Item = &'static str> {
    words.split(", ")
}

/// What each word says of the number beside it, in English and in the languages where the number is at home.
///
/// A leading `=` asks for this case, a leading `~` for the number right behind, as these mean other things too. Words of
/// no entity say that the number beside them is of another kind.
pub(crate) const CONTEXTS: &[(&[Entity], &str)] = &[
    (
        &[Entity::UsSsn],
        "ssn, ssns, social security, social sec, soc sec, ss#, ss number, seguro social, seguridad social",
    ),
    (&[Entity::UsItin], "itin, taxpayer id, individual taxpayer"),
    (&[Entity::UsItin, Entity::DeTaxId], "tax id, taxid, tax-id, tax_id, tax identification, taxpayer, =TIN"),
    (&[Entity::UsBankRouting], "routing, =ABA, ~aba, aba number, aba no, rtn, transit number, bank transit"),
    (&[Entity::UkNhs], "nhs, national health, health service, patient"),
    (&[Entity::UkNino], "nino, national insurance, ni number, ni no, nat ins, insurance number"),
    (
        &[Entity::CaSin],
        "=SIN, ~sin, sin no, =NAS, sin number, sin:, sin=, sin\", sin_, social insurance, assurance sociale, \
         numéro d'assurance",
    ),
    (&[Entity::AuTfn], "tfn, tax file"),
    (&[Entity::AuAbn], "abn, australian business"),
    (&[Entity::AuMedicare], "medicare"),
    (&[Entity::DeTaxId], "steuer, idnr, identifikationsnummer, ident-nr"),
    (&[Entity::EsDni, Entity::EsNie], "dni, nif, nie, documento nacional, identidad, extranjero"),
    (&[Entity::FrNir], "nir, insee, sécurité sociale, securite sociale, sécu, carte vitale, social security"),
    (&[Entity::PlPesel], "pesel"),
    (&[Entity::BrCpf], "cpf, cadastro de pessoa, contribuinte"),
    (&[Entity::BrCnpj], "cnpj, cadastro nacional"),
    (&[Entity::InAadhaar], "aadhaar, aadhar, adhaar, uidai, =UID, आधार, ஆதார், ఆధార్, আধার"),
    (&[Entity::InPan], "=PAN, ~pan, pan card, pan number, pan no, permanent account, income tax"),
    (&[Entity::SgNric], "nric, =FIN, identity card"),
    (&[Entity::NlBsn], "bsn, burgerservice, burger service, sofi, sofinummer, citizen service"),
    (
        &[Entity::SePersonnummer],
        "personnummer, person nr, personnr, pnr, samordningsnummer, personal identity, swedish",
    ),
    (&[Entity::FiHetu], "hetu, henkilötunnus, henkilotunnus, personal identity, sotu"),
    (&[Entity::ChAhv], "ahv, avs, oasi, navs13, ahvn13, sozialversicherung"),
    (
        &[Entity::ZaId],
        "=ID, id number, id no, identity number, south african, id-nommer, identiteitsnommer, rsa, ~id, sa id",
    ),
    (&[Entity::KrRrn], "rrn, resident registration, 주민등록, 주민번호, 외국인등록"),
    (&[Entity::CnResidentId], "身份证, 身分證, 公民身份, resident id, id card, 证件"),
    (&[Entity::TrTckn], "tckn, tc kimlik, t.c. kimlik, kimlik, tc no, =TC, turkish id, t.c."),
    (&[Entity::Iban], "iban, konto, bank account, account number, acct, kontonummer, rib, cuenta"),
    (
        &[Entity::PaymentCard],
        "card, cards, credit, debit, visa, mastercard, maestro, amex, discover, diners, jcb, airplus, cc, ccn, \
         =PAN, karte, kreditkarte, kartennummer, carte, tarjeta, carta, cartão, kaart, karta, kart, kort, kortti, \
         карт, 卡, カード, 카드, بطاقة, כרטיס, कार्ड, บัตร, thẻ",
    ),
    (
        &[Entity::Phone],
        "phone, tel, tel., telephone, mobile, cell, cellphone, call, fax, whatsapp, sms, text me, texted, contact \
         number, dial, hotline, signal, viber, telegram, telefon, tlf, mobil, handy, rufnummer, rückruf, ruf \
         mich, anrufen, téléphone, portable, appelez, appeler, joindre, teléfono, móvil, celular, llama, llámame, \
         telefone, telemóvel, ligue, telefono, cellulare, chiama, telefoon, mobiel, bel me, komórk, zadzwoń, \
         puhelin, puh, telefonszám, cep, ara beni, telefonu, điện thoại, sđt, gọi, тел, телефон, звон, позвон, \
         мобильн, τηλ, τηλέφωνο, κινητό, هاتف, جوال, اتصل, טלפון, נייד, फोन, फ़ोन, मोबाइल, โทร, เบอร์, 电话, 手机, \
         致电, 拨打, 联系方式, 電話, 手機, 携帯, 전화, 휴대폰, 연락처, 핸드폰, msisdn, reach, ring, ringing, dialer, dialing, tél, handynummer, رقم الهاتف, sim",
    ),
    (
        &[],
        "order, invoice, tracking, isbn, issn, version, commit, serial, ticket, build, sku, ean, upc, part no, \
         part number, model, article, parcel, shipment, transaction, reference, bestellung, rechnung, commande, \
         facture, pedido, factura, timestamp, epoch, revision, checksum, batch, lot, port, pid, ref, lote, \
         référence, referencia, sequence, rev",
    ),
];

/// Words for passwords.
pub(crate) const PASSWORDS: &str = "mật khẩu, รหัสผ่าน, kata sandi, kata laluan, лозинка, парола, lozinka, geslo, parool, parole, slaptažodis, \
         hasło do, κωδικός, password, pgpassword, dbpassword, userpassword, adminpassword, passwd, passwort, kennwort, passphrase, pass phrase, passcode, pwd, pswd, pass, user_pass, \
         db_pass, mot de passe, mdp, contraseña, contrasena, clave, senha, parola, wachtwoord, hasło, haslo, \
         lösenord, losenord, adgangskode, passord, salasana, heslo, jelszó, şifre, sifre, parolă, пароль, κωδικός \
         πρόσβασης, 密码, 密碼, 口令, パスワード, 비밀번호, 암호, كلمة المرور, كلمة السر, סיסמה, पासवर्ड";

/// One more, too short to be sought with the others.
pub(crate) const PASSWORD_OF_TWO: Pair = *b"pw";

/// Words for keys and tokens.
pub(crate) const SECRETS: &str = "creds, auth, secret, secret_key, secretkey, client_secret, clientsecret, app_secret, api_key, apikey, \
         api-key, api key, api_secret, api_token, access_key, accesskey, access token, access_token, accesstoken, \
         auth_token, authtoken, auth token, bearer, token, private_key, privatekey, encryption_key, signing_key, \
         signing_secret, webhook_secret, session_key, master_key, service_key, credential, credentials, \
         connection_string, license_key, 密钥";

/// Services whose keys have no form of their own, so that their name must stand beside.
pub(crate) const SERVICES: &str = "aws_secret_access_key, aws_secret_key, secretaccesskey, secret_access_key, mistral_api_key, \
         cohere_api_key, okta_token, okta_api_token, cloudflare_api_token, cloudflare_api_key, cf_api_token, \
         azure_openai_api_key, azure_api_key, azure_openai_key, datadog_api_key, dd_api_key, dd_app_key, \
         twilio_auth_token, heroku_api_key, algolia_api_key, ocp-apim-subscription-key, together_api_key, \
         deepseek_api_key, fireworks_api_key, discord_token, discord_bot_token, circleci_token";

/// Words for passports.
pub(crate) const PASSPORTS: &str = "passport, reisepass, passnummer, pass-nr, passeport, pasaporte, passaporto, passaporte, paspoort, \
         paszport, pasaport, паспорт, 护照, 護照, パスポート, 旅券, 여권, جواز سفر, جواز السفر, דרכון, पासपोर्ट, hộ chiếu, \
         διαβατήριο, passnr, หนังสือเดินทาง";

/// Words for driving licences.
pub(crate) const LICENCES: &str = "driver's license, driver’s license, drivers license, driver license, driver's licence, driver’s licence, \
         driver licence, drivers licence, driving licence, driving license, driver_license, drivers_license, \
         driving_licence, driver_licence, licence no, driver lic, dl number, dl no, dl#, dl:, führerschein, \
         permis de conduire, carnet de conducir, licencia de conducir, permiso de conducir, patente di guida, \
         patente n, rijbewijs, prawo jazdy, prawa jazdy, carteira de motorista, carta de condução, водительск, \
         驾驶证, 驾照, 運転免許, 운전면허, ehliyet";

/// Words for being born.
pub(crate) const BIRTHS: &str = "narozen, narozeni, народжен, születési, született, nașter, născut, ngày tháng năm sinh, tarikh lahir, tanggal lahir, \
         rojen, rođen, sündinud, dzimis, gimimo, narodenia, роден, дата на раждане, tidspunkt for fødsel, born, dob, d.o.b, date of birth, date_of_birth, dateofbirth, birth date, birthdate, birth_date, \
         birthday, geboren, geburtsdatum, geburtstag, geb., né le, née le, né(e) le, ne le, naissance, nacido, \
         nacida, nació, nacimiento, nato il, nato a, nata a, nata il, nascita, nascido, nascida, nasceu, \
         nascimento, geboortedatum, geboren op, urodzony, urodzona, urodzenia, ur., родился, родилась, рождения, \
         д.р., født, född, födelsedatum, fødselsdato, syntynyt, syntymäaika, 出生, 生年月日, 生まれ, 생년월일, 태어, doğum, \
         doğdu, تاريخ الميلاد, ولد, תאריך לידה, जन्म, ولدت, วันเกิด, ngày sinh, γεννήθηκε, γέννησης";
