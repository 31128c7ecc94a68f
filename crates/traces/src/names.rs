//! The names of attributes: OpenTelemetry's conventions for generative AI as they were in July 2026, which are still
//! "in development", and our own under `tollgate.`.
//!
//! <https://opentelemetry.io/docs/specs/semconv/gen-ai/>

/// What is asked for: `chat` or `embeddings`.
pub(crate) const OPERATION: &str = "gen_ai.operation.name";
/// Who answers.
pub(crate) const PROVIDER: &str = "gen_ai.provider.name";
/// The model that was asked for.
pub(crate) const REQUEST_MODEL: &str = "gen_ai.request.model";
/// The model that answered.
pub(crate) const RESPONSE_MODEL: &str = "gen_ai.response.model";
/// The provider's name for its answer.
pub(crate) const RESPONSE_ID: &str = "gen_ai.response.id";
/// All prompt tokens, those of the provider's cache included.
pub(crate) const INPUT_TOKENS: &str = "gen_ai.usage.input_tokens";
/// All answer tokens, reasoning included.
pub(crate) const OUTPUT_TOKENS: &str = "gen_ai.usage.output_tokens";
/// Prompt tokens that were read from the provider's cache.
pub(crate) const CACHE_READ_TOKENS: &str = "gen_ai.usage.cache_read.input_tokens";
/// Prompt tokens that were written to the provider's cache.
pub(crate) const CACHE_WRITE_TOKENS: &str = "gen_ai.usage.cache_creation.input_tokens";
/// Dollars. Not in the conventions; Langfuse and others read it.
pub(crate) const COST: &str = "gen_ai.usage.cost";
/// Why it failed.
pub(crate) const ERROR_TYPE: &str = "error.type";
/// The provider's HTTP status.
pub(crate) const HTTP_STATUS: &str = "http.response.status_code";
/// The end user.
pub(crate) const USER: &str = "user.id";
/// Where jobs come from.
pub(crate) const MESSAGING_SYSTEM: &str = "messaging.system";
/// The job's id, as that of a message.
pub(crate) const MESSAGE_ID: &str = "messaging.message.id";
/// The name of this service.
pub(crate) const SERVICE: &str = "service.name";
/// Its version.
pub(crate) const SERVICE_VERSION: &str = "service.version";

/// Whose job it was.
pub(crate) const TEAM: &str = "tollgate.team";
/// `interactive`, `standard` or `batch`.
pub(crate) const CLASS: &str = "tollgate.class";
/// The project that the job named.
pub(crate) const PROJECT: &str = "tollgate.project";
/// How the job ended.
pub(crate) const STATUS: &str = "tollgate.status";
/// How the call ended.
pub(crate) const OUTCOME: &str = "tollgate.outcome";
/// From acceptance to the start of the run, ms.
pub(crate) const QUEUED: &str = "tollgate.queued_ms";
/// Which delivery of the job it was, from 1.
pub(crate) const DELIVERY: &str = "tollgate.delivery";
/// The worker.
pub(crate) const WORKER: &str = "tollgate.worker";
/// `hit`, `miss` or `bypass`.
pub(crate) const CACHE: &str = "tollgate.cache";
/// Nano-dollars, exact.
pub(crate) const COST_NANOUSD: &str = "tollgate.cost_nanousd";
/// What an answer from the cache would have cost, nano-dollars.
pub(crate) const SAVED_NANOUSD: &str = "tollgate.saved_nanousd";
/// The names of the guardrail rules that fired.
pub(crate) const GUARDRAILS: &str = "tollgate.guardrails";
/// The prompt's risk, 0 to 100.
pub(crate) const RISK: &str = "tollgate.risk";
/// The beginning of the names of labels.
pub(crate) const LABEL: &str = "tollgate.label.";
/// The event of the first byte of an answer.
pub(crate) const FIRST_TOKEN: &str = "gen_ai.first_token";
