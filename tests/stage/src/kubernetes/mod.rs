//! A real Kubernetes: control plane and one node, or the cluster of `TRIBUTARY_TEST_KUBECONFIG`.

mod control_plane;
mod pki;

use anyhow::Result;

use crate::info::KubernetesInfo;
use crate::parts::Part;
use crate::serve::Context;
use control_plane::Programs;
use pki::Pki;

/// Raises what `context.parts` asks for.
pub(crate) fn start(context: &Context) -> Result<KubernetesInfo> {
    let whole = context.parts.has(Part::Node);
    let programs = Programs::find(whole)?;
    std::os::unix::fs::symlink(&programs.kubectl, context.bin.join("kubectl"))?;
    let pki = Pki::create(&context.dir("pki")?, &context.id)?;
    control_plane::start_api_server(context, &programs, &pki)
}
