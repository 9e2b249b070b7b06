//! TLS: a certificate authority of this machine, and certificates for the names served here.
//!
//! Official clients call load-balanced endpoints by `https` and by name (`platform.md` 6.1), so
//! they have to trust a file. The authority can sign only names under which a local Runpod is
//! called: who trusts it trusts it for nothing else. A name's certificate is made when a client
//! first asks for it, because OpenSSL takes no `*.localhost`; it is never written to disk.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::error::ServerError;

/// Domains that the authority may sign; all names below them too.
const DOMAINS: [&str; 4] = ["localhost", "runpod.ai", "runpod.io", "runpod.net"];
/// Names of the certificate for a client that does not say which one it wants.
/// (`*.localhost` is refused as a wildcard by most clients; it would make the whole of it void.)
const NAMES: [&str; 11] = [
    "localhost",
    "127.0.0.1",
    "::1",
    "api.localhost",
    "*.api.localhost",
    "api.runpod.ai",
    "*.api.runpod.ai",
    "api.runpod.io",
    "rest.runpod.io",
    "hapi.runpod.net",
    "*.proxy.runpod.net",
];
/// How long an authority is valid, and how long before its end another one is made.
const AUTHORITY_YEARS: i32 = 10;
const AUTHORITY_RENEWAL_YEARS: i32 = 1;
/// How long a certificate is valid, and after how long another one is made.
const CERTIFICATE_DAYS: i32 = 90;
const CERTIFICATE_RENEWAL_DAYS: i32 = 30;
/// Certificates kept at a time: an unknown client must not fill the memory with names.
const KEPT: usize = 1024;
/// Where systems keep the authorities they trust.
const SYSTEM_BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
/// Variables by which programs are told which authorities to trust.
const BUNDLE_VARIABLES: [&str; 2] = ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"];

/// What a client needs in order to trust this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustFiles {
    /// The authority alone (PEM), for `NODE_EXTRA_CA_CERTS`.
    pub authority: PathBuf,
    /// The authority and those that the system trusts (PEM), for `SSL_CERT_FILE`: a client that
    /// is told of this file still reaches everything else.
    pub bundle: PathBuf,
}

/// Served TLS: how to accept it, and what clients have to trust.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Accepts connections.
    pub config: Arc<ServerConfig>,
    /// Files for clients.
    pub trust: TrustFiles,
}

impl Tls {
    /// Opens the authority kept in `folder`, and makes one where there is none or its time is up.
    /// `further` are files of authorities to trust where the system names none.
    pub fn open(folder: &Path, further: &[PathBuf]) -> Result<Self, ServerError> {
        Self::open_at(folder, further, today())
    }

    fn open_at(folder: &Path, further: &[PathBuf], today: Date) -> Result<Self, ServerError> {
        let (authority, pem) = Authority::open(folder, today)?;
        let trust = TrustFiles { authority: folder.join("ca.pem"), bundle: folder.join("bundle.pem") };
        let bundle = bundle(&pem, &trusted_files(further));
        if fs::read_to_string(&trust.bundle).ok().as_deref() != Some(&bundle) {
            write(&trust.bundle, &bundle, 0o644).map_err(|source| failed(&trust.bundle, source))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| failed(folder, io::Error::other(source)))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Names { authority, known: Mutex::default() }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), trust })
    }
}

/// Whether names below this host's domain can be certified here.
pub fn is_served_domain(host: &str) -> bool {
    DOMAINS
        .iter()
        .any(|domain| host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.')))
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

fn failed(path: &Path, source: io::Error) -> ServerError {
    ServerError::Certificate { path: path.to_path_buf(), source }
}

/// What is kept of an authority beside its certificate and key.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Date such as `2036-11-24`.
    expires: String,
}

/// Signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Returns the authority and its certificate as PEM.
    fn open(folder: &Path, today: Date) -> Result<(Self, String), ServerError> {
        if let Some(found) = Self::load(folder, today) {
            return Ok(found);
        }
        let make = || -> io::Result<(Self, String)> {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
            let key = KeyPair::generate().map_err(io::Error::other)?;
            let expires = today.saturating_add(AUTHORITY_YEARS.years());
            let params = authority_params(today, expires);
            let pem = params.self_signed(&key).map_err(io::Error::other)?.pem();
            // Written last, so that a key never goes with another key's certificate.
            let _ = fs::remove_file(folder.join("ca.json"));
            write(&folder.join("ca-key.pem"), &key.serialize_pem(), 0o600)?;
            write(&folder.join("ca.pem"), &pem, 0o644)?;
            let kept = serde_json::to_string_pretty(&Kept { version: 1, expires: expires.to_string() })?;
            write(&folder.join("ca.json"), &kept, 0o600)?;
            Ok((Self { issuer: Issuer::new(params, key) }, pem))
        };
        make().map_err(|source| failed(folder, source))
    }

    /// Returns what is kept in `folder`; `None` where that is nothing, broken or too old.
    fn load(folder: &Path, today: Date) -> Option<(Self, String)> {
        let kept: Kept = serde_json::from_slice(&fs::read(folder.join("ca.json")).ok()?).ok()?;
        let expires: Date = kept.expires.parse().ok()?;
        if kept.version != 1 || today >= expires.saturating_sub(AUTHORITY_RENEWAL_YEARS.years()) {
            return None;
        }
        let key = KeyPair::from_pem(&fs::read_to_string(folder.join("ca-key.pem")).ok()?).ok()?;
        let pem = fs::read_to_string(folder.join("ca.pem")).ok()?;
        // Only what the name and the key say of the issuer gets into a certificate.
        Some((Self { issuer: Issuer::new(authority_params(today, expires), key) }, pem))
    }

    fn certify(&self, names: Vec<String>, today: Date) -> Result<CertifiedKey, rcgen::Error> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = name("Runpod on this machine");
        limit(&mut params, today, today.saturating_add(CERTIFICATE_DAYS.days()));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let key = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|_| rcgen::Error::UnsupportedSignatureAlgorithm)?;
        Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
    }
}

fn authority_params(today: Date, expires: Date) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("runpod_flash: Runpod on this machine");
    limit(&mut params, today, expires);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let addresses = loopback.map(|address| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(address, bits))
    });
    let permitted = DOMAINS.iter().map(|domain| GeneralSubtree::DnsName((*domain).to_owned()));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: permitted.chain(addresses).collect(),
        excluded_subtrees: Vec::new(),
    });
    params
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

/// Makes it valid from yesterday, since clocks differ, to `end`.
fn limit(params: &mut CertificateParams, today: Date, end: Date) {
    let moment = |date: Date| {
        let (month, day) = (u8::try_from(date.month()), u8::try_from(date.day()));
        date_time_ymd(i32::from(date.year()), month.unwrap_or(1), day.unwrap_or(1))
    };
    params.not_before = moment(today.saturating_sub(1.day()));
    params.not_after = moment(end);
}

/// Chooses and makes certificates by the name that a client asks for.
#[derive(Debug)]
struct Names {
    authority: Authority,
    known: Mutex<HashMap<String, (Date, Arc<CertifiedKey>)>>,
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.certificate(hello.server_name().unwrap_or_default(), today())
    }
}

impl Names {
    /// Returns the certificate for a name; an empty name stands for all usual ones.
    fn certificate(&self, name: &str, today: Date) -> Option<Arc<CertifiedKey>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        let name = if is_served_domain(&name) { name } else { String::new() };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, certificate)) = known.get(&name)
            && today < made.saturating_add(CERTIFICATE_RENEWAL_DAYS.days())
        {
            return Some(Arc::clone(certificate));
        }
        let names = if name.is_empty() {
            NAMES.iter().map(|name| (*name).to_owned()).collect()
        } else {
            vec![name.clone()]
        };
        match self.authority.certify(names, today) {
            Ok(certificate) => {
                if known.len() >= KEPT {
                    known.clear();
                }
                let certificate = Arc::new(certificate);
                known.insert(name, (today, Arc::clone(&certificate)));
                Some(certificate)
            }
            Err(error) => {
                tracing::error!(%error, name, "no certificate could be made");
                None
            }
        }
    }
}

/// Files of authorities that are trusted already.
fn trusted_files(further: &[PathBuf]) -> Vec<PathBuf> {
    let named = BUNDLE_VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let mut files: Vec<PathBuf> = named.filter(|path| path.is_file()).collect();
    let system = SYSTEM_BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
    match system {
        Some(system) => files.push(system),
        None => files.extend(further.iter().filter(|path| path.is_file()).cloned()),
    }
    files
}

/// Joins our authority and what the files hold, each certificate once.
fn bundle(authority: &str, files: &[PathBuf]) -> String {
    const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
    const END: &str = "-----END CERTIFICATE-----";
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    let contents = files.iter().filter_map(|file| fs::read(file).ok());
    let contents = contents.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    for content in std::iter::once(authority.to_owned()).chain(contents) {
        for part in content.split(BEGIN).skip(1) {
            if let Some((body, _)) = part.split_once(END)
                && seen.insert(body.split_whitespace().collect::<String>())
            {
                text.extend([BEGIN, body, END, "\n"]);
            }
        }
    }
    text
}

/// Writes a file beside and renames it, so that no reader sees half of it.
fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What a broken start left may have another mode.
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    use super::*;

    const DAY: Date = jiff::civil::date(2026, 11, 24);

    fn roots(pem: &str) -> RootCertStore {
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            store.add(certificate.unwrap()).unwrap();
        }
        store
    }

    fn is_trusted(pem: &str, certificate: &CertifiedKey, name: &str, on: Date) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots(pem)), provider);
        let seconds = on.to_zoned(TimeZone::UTC).unwrap().timestamp().as_second();
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds.try_into().unwrap()));
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let result = verifier.build().unwrap().verify_server_cert(&certificate.cert[0], &[], &name, &[], now);
        result.is_ok()
    }

    fn names(folder: &Path, today: Date) -> (Names, String) {
        let (authority, pem) = Authority::open(folder, today).unwrap();
        (Names { authority, known: Mutex::default() }, pem)
    }

    #[test]
    fn certificate_is_trusted_for_the_name_that_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let (names, pem) = names(folder.path(), DAY);
        for name in ["ep1.localhost", "ep1.api.localhost", "api.runpod.ai", "a.b.api.runpod.ai", "localhost"]
        {
            let certificate = names.certificate(name, DAY).unwrap();
            assert!(is_trusted(&pem, &certificate, name, DAY), "{name}");
            assert!(!is_trusted(&pem, &certificate, "other.localhost", DAY), "{name}");
        }
        let unnamed = names.certificate("", DAY).unwrap();
        for name in ["127.0.0.1", "::1", "localhost", "ep1.api.runpod.ai", "rest.runpod.io"] {
            assert!(is_trusted(&pem, &unnamed, name, DAY), "{name}");
        }
    }

    #[test]
    fn authority_is_not_trusted_for_foreign_names() {
        let folder = tempfile::tempdir().unwrap();
        let (names, pem) = names(folder.path(), DAY);
        let certificate = names.authority.certify(vec!["pypi.org".to_owned()], DAY).unwrap();
        assert!(!is_trusted(&pem, &certificate, "pypi.org", DAY));
        let asked = names.certificate("pypi.org", DAY).unwrap();
        assert!(!is_trusted(&pem, &asked, "pypi.org", DAY));
        assert!(!is_served_domain("evilrunpod.ai") && is_served_domain("x.runpod.ai"));
    }

    #[test]
    fn authority_is_kept_and_renewed_before_it_expires() {
        let folder = tempfile::tempdir().unwrap();
        let (_, first) = names(folder.path(), DAY);
        let (kept, second) = names(folder.path(), DAY.saturating_add(8.years()));
        assert_eq!(first, second);
        let then = DAY.saturating_add(8.years());
        let certificate = kept.certificate("ep1.localhost", then).unwrap();
        assert!(is_trusted(&first, &certificate, "ep1.localhost", then));
        let (_, third) = names(folder.path(), DAY.saturating_add(9.years()));
        assert_ne!(first, third);
    }

    #[test]
    fn certificate_is_made_anew_while_the_old_one_is_valid() {
        let folder = tempfile::tempdir().unwrap();
        let (names, _) = names(folder.path(), DAY);
        let first = names.certificate("ep1.localhost", DAY).unwrap();
        let same = names.certificate("EP1.localhost.", DAY.saturating_add(29.days())).unwrap();
        let other = names.certificate("ep1.localhost", DAY.saturating_add(31.days())).unwrap();
        assert!(Arc::ptr_eq(&first, &same));
        assert!(!Arc::ptr_eq(&first, &other));
    }

    #[test]
    fn key_is_readable_by_its_owner_alone_and_broken_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (_, first) = names(folder.path(), DAY);
        let key = folder.path().join("ca-key.pem");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&key, "broken").unwrap();
        let (_, second) = names(folder.path(), DAY);
        assert_ne!(first, second);
    }

    #[test]
    fn bundle_has_every_authority_once() {
        let folder = tempfile::tempdir().unwrap();
        let (_, ours) = names(folder.path(), DAY);
        let (_, theirs) = names(&folder.path().join("other"), DAY);
        let file = folder.path().join("system.pem");
        fs::write(&file, format!("# Some\n{theirs}\n# Again\n{theirs}{ours}")).unwrap();
        assert_eq!(roots(&bundle(&ours, &[file])).len(), 2);
    }
}
