//! `kubectl tributary`: what the columns of `kubectl get` have no room for. Found by kubectl when it is on the PATH.

mod cluster;
mod doctor;
mod explain;
mod fetch;
mod figures;
mod manifests;
mod offline;
mod output;
mod plan;
mod report;
mod rights;
mod text;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};
use kube::config::KubeConfigOptions;
use kube::{Client, ResourceExt};
use tributary_crds::TenantPipeline;
use tributary_operator::table::ddl::Version;

use fetch::Fetched;
use manifests::Manifests;
use offline::Files;
use output::{Answer, Exit, Failure, Format};

#[derive(Parser)]
#[command(
    name = "kubectl-tributary",
    bin_name = "kubectl tributary",
    version,
    about = "Looks into Tributary's pipelines; changes nothing"
)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
struct Common {
    /// Namespace of the object; default: the context's (with files: default).
    #[arg(short, long, global = true)]
    namespace: Option<String>,
    /// Context of the kubeconfig; default: its current one.
    #[arg(long, global = true)]
    context: Option<String>,
    /// How to print.
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Where objects come from instead of a cluster.
#[derive(Args)]
struct Sources {
    /// A file with manifests, a folder of such files, or - for standard input; may be given several times.
    #[arg(short, long = "filename", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Image of relays without one of their platform's; default: the cluster's operator's.
    #[arg(long, env = "TRIBUTARY_RELAY_IMAGE")]
    relay_image: Option<String>,
}

#[derive(Subcommand)]
enum Command {
    /// A pipeline and everything it is made of, with conditions and messages.
    Status {
        /// Name of the TenantPipeline.
        name: String,
    },
    /// Every action the operator would carry out, in its order. Exit code: 0 no change, 2 changes, 1 refused or not known.
    ///
    /// With files alone nothing is contacted and nothing is taken to exist. With a name the cluster and, as far as they can be
    /// reached from here, its backends are compared; with both, the file's spec is.
    Plan {
        /// Name of the TenantPipeline.
        #[arg(required_unless_present = "files")]
        name: Option<String>,
        #[command(flatten)]
        sources: Sources,
        /// Version of StarRocks to write DDL for, when no server can be asked.
        #[arg(long, default_value = "3.5.0")]
        starrocks_version: Version,
    },
    /// What a pipeline means: every value with where it came from, and what everything is called.
    Explain {
        /// Name of the TenantPipeline; with files: all of theirs.
        #[arg(required_unless_present = "files")]
        name: Option<String>,
        #[command(flatten)]
        sources: Sources,
    },
    /// Checks an installation, a platform or a pipeline from outside: one line each, with what to do. Exit code 1 when something is wrong.
    Doctor {
        #[command(subcommand)]
        of: Option<Patient>,
    },
}

#[derive(Subcommand)]
enum Patient {
    /// A DataPlatform, its Secrets and what the operator reached.
    Platform { name: String },
    /// A TenantPipeline and everything it refers to.
    Pipeline { name: String },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli).await {
        Ok(answer) => {
            print!("{}", answer.text);
            ExitCode::from(answer.exit as u8)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli) -> Result<Answer, Failure> {
    let common = cli.common;
    let format = common.output;
    match cli.command {
        Command::Status { name } => {
            let (client, namespace) = connect(common).await?;
            let fetched = Fetched::of(&client, &namespace, &name).await?;
            let flows = match &fetched.relay {
                Ok(relay) => figures::flows(&client, relay).await,
                Err(why) => Err(why.clone()),
            };
            let now = jiff::Timestamp::now();
            let mut objects = fetched.objects()?;
            objects["live"] = serde_json::to_value(&flows)?;
            Answer::new(&objects, format, Exit::Fine, |_| {
                let now_ms = u64::try_from(now.as_millisecond()).unwrap_or_default();
                tree::render(&fetched, now) + &figures::text(&flows, now_ms)
            })
        }
        Command::Plan {
            name: None,
            sources,
            starrocks_version,
        } => {
            let files = match files(&sources, &common)? {
                Ok(files) => files,
                Err(answer) => return Ok(answer),
            };
            let reports = plan::offline(&files, starrocks_version);
            Answer::new(&reports, format, plan::exit(&reports), |r| text::plans(r))
        }
        Command::Plan {
            name: Some(name),
            sources,
            ..
        } => {
            let edited = match edited(&name, &sources, &common)? {
                Ok(edited) => edited,
                Err(answer) => return Ok(answer),
            };
            let (client, namespace) = connect(common).await?;
            let image = relay_image(&client, sources.relay_image).await;
            let report = plan::live(&client, &namespace, &name, &image, edited.as_deref()).await?;
            let reports = vec![report];
            Answer::new(&reports, format, plan::exit(&reports), |r| text::plans(r))
        }
        Command::Explain { name, sources } if !sources.files.is_empty() => {
            let files = match files(&sources, &common)? {
                Ok(files) => files,
                Err(answer) => return Ok(answer),
            };
            let meant = |p: &&Arc<TenantPipeline>| name.as_ref().is_none_or(|name| p.name_any() == *name);
            let mut explained = Vec::new();
            for pipeline in files.pipelines.iter().filter(meant) {
                let accepted = plan::accepted(&files, pipeline)
                    .map_err(|why| format!("TenantPipeline {}: {why}", pipeline.name_any()))?;
                explained.push(explain::explain(&accepted)?);
            }
            if explained.is_empty() {
                return Err("there is no such TenantPipeline in the files".into());
            }
            Answer::new(&explained, format, Exit::Fine, |all| {
                all.iter().map(explain::text).collect::<Vec<_>>().join("\n")
            })
        }
        Command::Explain { name, sources } => {
            let (client, namespace) = connect(common).await?;
            let image = relay_image(&client, sources.relay_image).await;
            let accepted =
                plan::accepted_live(&client, &namespace, &name.unwrap_or_default(), &image).await?;
            let explained = vec![explain::explain(&accepted)?];
            Answer::new(&explained, format, Exit::Fine, |all| {
                all.iter().map(explain::text).collect()
            })
        }
        Command::Doctor { of } => {
            let (client, namespace) = connect(common).await?;
            let checks = match of {
                None => doctor::installation(&client).await,
                Some(Patient::Platform { name }) => doctor::platform(&client, &namespace, &name).await?,
                Some(Patient::Pipeline { name }) => doctor::pipeline(&client, &namespace, &name).await?,
            };
            Answer::new(&checks, format, doctor::exit(&checks), |c| doctor::text(c))
        }
    }
}

/// The objects of the files, or the answer that says what is wrong with them.
fn files(sources: &Sources, common: &Common) -> Result<Result<Files, Answer>, Failure> {
    let namespace = common.namespace.as_deref().unwrap_or("default");
    let manifests = Manifests::read(&sources.files, namespace)?;
    let problems = manifests.problems();
    if !problems.is_empty() {
        return Ok(Err(Answer::new(&problems, common.output, Exit::Trouble, |p| {
            text::problems(p)
        })?));
    }
    let image = sources
        .relay_image
        .clone()
        .unwrap_or_else(|| UNKNOWN_IMAGE.to_owned());
    Ok(Ok(Files::new(&manifests, image)))
}

/// The pipeline of that name in the files, when there are any.
fn edited(
    name: &str,
    sources: &Sources,
    common: &Common,
) -> Result<Result<Option<Arc<TenantPipeline>>, Answer>, Failure> {
    if sources.files.is_empty() {
        return Ok(Ok(None));
    }
    Ok(match files(sources, common)? {
        Err(answer) => Err(answer),
        Ok(files) => {
            let found = files.pipelines.iter().find(|p| p.name_any() == name).cloned();
            Ok(Some(found.ok_or_else(|| {
                format!("there is no TenantPipeline {name} in the files")
            })?))
        }
    })
}

const UNKNOWN_IMAGE: &str = "(the operator's TRIBUTARY_RELAY_IMAGE)";

async fn relay_image(client: &Client, given: Option<String>) -> String {
    match given {
        Some(image) => image,
        None => cluster::relay_image(client)
            .await
            .unwrap_or_else(|| UNKNOWN_IMAGE.to_owned()),
    }
}

async fn connect(common: Common) -> Result<(Client, String), Failure> {
    let options = KubeConfigOptions {
        context: common.context,
        ..KubeConfigOptions::default()
    };
    let mut config = kube::Config::from_kubeconfig(&options).await?;
    // Every call has its own deadline; kube's retries would outlast it.
    config.default_retry = false;
    let namespace = common
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    Ok((Client::try_from(config)?, namespace))
}
