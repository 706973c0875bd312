//! A real Kubernetes: control plane and one node, or the cluster of `TRIBUTARY_TEST_KUBECONFIG`.

mod control_plane;
mod external;
mod node;
mod pki;

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;

use anyhow::Result;

use crate::info::KubernetesInfo;
use crate::parts::{Part, Parts};
use crate::progress::say;
use crate::serve::{Context, joined, or_end};
use crate::setup;
use control_plane::Programs;
use pki::Pki;

/// The kubeconfig of a cluster to use instead of raising one.
pub(crate) fn external_kubeconfig() -> Option<PathBuf> {
    std::env::var_os("TRIBUTARY_TEST_KUBECONFIG")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
}

/// For a cluster that is not ours: who has one has a kubectl, and building one takes minutes.
fn own_kubectl() -> Result<PathBuf> {
    setup::program("kubectl").map_or_else(|| Ok(setup::kubernetes()?.join("kubectl")), Ok)
}

/// Builds what [`start`] runs.
pub(crate) fn prepare(parts: Parts) -> Result<()> {
    let whole = parts.has(Part::Node);
    if whole {
        setup::helm()?;
    }
    if external_kubeconfig().is_some() {
        return own_kubectl().map(drop);
    }
    Programs::find(whole)?;
    if whole {
        setup::containerd()?;
        setup::pause()?;
    }
    Ok(())
}

/// Raises what `context.parts` asks for.
pub(crate) fn start(context: &Context) -> Result<KubernetesInfo> {
    let whole = context.parts.has(Part::Node);
    if let Some(kubeconfig) = external_kubeconfig() {
        symlink(own_kubectl()?, context.bin.join("kubectl"))?;
        symlink(setup::helm()?.join("helm"), context.bin.join("helm"))?;
        return external::adopt(context, kubeconfig);
    }
    let programs = Programs::find(whole)?;
    symlink(&programs.kubectl, context.bin.join("kubectl"))?;
    let pki = Pki::create(&context.dir("pki")?, &context.id)?;
    if !whole {
        return control_plane::start_api_server(context, &programs, &pki);
    }
    thread::scope(|scope| {
        let helm = scope.spawn(|| or_end(setup::helm()));
        let containerd = scope.spawn(|| or_end(node::start_containerd(context)));
        let mut info = control_plane::start_api_server(context, &programs, &pki)?;
        say("the API server is ready");
        let controllers = scope.spawn({
            let (programs, pki, info) = (&programs, &pki, info.clone());
            move || or_end(control_plane::start_controllers(context, programs, pki, &info))
        });
        let socket = joined(containerd);
        info.node = Some(node::start_kubelet(context, &programs, &pki, &info, &socket)?);
        joined(controllers);
        symlink(joined(helm).join("helm"), context.bin.join("helm"))?;
        say("the node is ready");
        Ok(info)
    })
}
