//! Which database a StarRocksTable of a namespace may name (api-sketch D7: a tenant's things are its own, D13: shared tables are
//! their owner's).
//!
//! * In the platform's own namespace: any. Whoever may write there holds the cluster's credentials anyway.
//! * Its tenant's database, `tenancy.hotDatabase` with the tenant that the namespace may claim.
//! * What `tenancy.databases` of the platform gives to the namespace by name.
//!
//! A pipeline's own tables are children in the pipeline's namespace and follow the same rule.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use tributary_crds::DataPlatform;
use tributary_crds::effective::hot_database_pattern;
use tributary_crds::names::{LABEL_TENANT, hot_database};
use tributary_crds::platform::TenantNames;

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    pub namespace: &'a str,
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// Tenants of pipelines in the namespace that were accepted: what counts where the first claim wins.
    pub tenants: &'a BTreeSet<String>,
}

/// Whether the database may be named; else why not, and what to do.
pub fn permit(database: &str, asking: &Asking<'_>, platform: &DataPlatform) -> Result<(), String> {
    if platform.namespace().as_deref() == Some(asking.namespace) {
        return Ok(());
    }
    let pattern = hot_database_pattern(platform);
    let own: Vec<String> = tenants(asking, platform)
        .iter()
        .map(|tenant| hot_database(pattern, tenant))
        .collect();
    let listed = platform.spec.tenancy.as_ref().is_some_and(|t| {
        t.databases
            .iter()
            .any(|d| d.name == database && d.namespaces.iter().any(|n| n == asking.namespace))
    });
    if listed || own.iter().any(|o| o == database) {
        return Ok(());
    }
    let own = match own.first() {
        Some(own) => format!("its own is {own}"),
        None => "it has none of its own".to_owned(),
    };
    Err(format!(
        "database: namespace {} may not name database {database}: {own}; any other needs an entry in tenancy.databases of the DataPlatform.",
        asking.namespace
    ))
}

fn tenants(asking: &Asking<'_>, platform: &DataPlatform) -> BTreeSet<String> {
    let rule = platform.spec.tenancy.as_ref().and_then(|t| t.tenant_names);
    match rule.unwrap_or_default() {
        TenantNames::NamespaceLabel => {
            let label = asking.labels.and_then(|l| l.get(LABEL_TENANT));
            label.into_iter().cloned().collect()
        }
        TenantNames::NamespaceName => BTreeSet::from([asking.namespace.to_owned()]),
        TenantNames::Any => asking.tenants.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn platform(tenancy: serde_json::Value) -> DataPlatform {
        let mut platform = DataPlatform::default();
        platform.metadata.namespace = Some("tributary".into());
        platform.spec.tenancy = Some(serde_json::from_value(tenancy).expect("tenancy"));
        platform
    }

    #[test]
    fn a_namespace_has_its_tenants_database_and_what_the_platform_lists() {
        let label = BTreeMap::from([(LABEL_TENANT.to_owned(), "big-corp".to_owned())]);
        let claimed = BTreeSet::from(["big-corp".to_owned()]);
        let nobody = BTreeSet::new();
        let listed = json!({"databases": [{"name": "shop", "namespaces": ["shop-shared"]}]});
        let by_name = json!({"tenantNames": "NamespaceName", "hotDatabase": "t_{tenant}"});
        let any = json!({"tenantNames": "Any"});
        for (what, tenancy, namespace, labels, tenants, database, permitted) in [
            (
                "own",
                &listed,
                "ns",
                Some(&label),
                &nobody,
                "tenant_big_corp",
                true,
            ),
            (
                "another's",
                &listed,
                "ns",
                Some(&label),
                &nobody,
                "tenant_acme",
                false,
            ),
            ("no label", &listed, "ns", None, &nobody, "tenant_big_corp", false),
            (
                "a claim is no label",
                &listed,
                "ns",
                None,
                &claimed,
                "tenant_big_corp",
                false,
            ),
            ("listed", &listed, "shop-shared", None, &nobody, "shop", true),
            (
                "listed for others",
                &listed,
                "ns",
                Some(&label),
                &nobody,
                "shop",
                false,
            ),
            (
                "not listed",
                &listed,
                "shop-shared",
                None,
                &nobody,
                "shop2",
                false,
            ),
            (
                "the platform's own",
                &listed,
                "tributary",
                None,
                &nobody,
                "anything",
                true,
            ),
            ("by name", &by_name, "acme", None, &nobody, "t_acme", true),
            (
                "by another name",
                &by_name,
                "acme",
                Some(&label),
                &nobody,
                "t_big_corp",
                false,
            ),
            ("claimed", &any, "ns", None, &claimed, "tenant_big_corp", true),
            (
                "not claimed",
                &any,
                "ns",
                Some(&label),
                &nobody,
                "tenant_big_corp",
                false,
            ),
        ] {
            let asking = Asking {
                namespace,
                labels,
                tenants,
            };
            let verdict = permit(database, &asking, &platform(tenancy.clone()));
            assert_eq!(verdict.is_ok(), permitted, "{what}: {verdict:?}");
        }
    }

    #[test]
    fn the_refusal_says_what_is_its_own_and_what_to_do() {
        let tenants = BTreeSet::new();
        let asking = Asking {
            namespace: "acme",
            labels: None,
            tenants: &tenants,
        };
        let by_name = platform(json!({"tenantNames": "NamespaceName"}));
        let said = permit("shop", &asking, &by_name).unwrap_err();
        assert!(said.contains("its own is tenant_acme; any other needs an entry in tenancy.databases"));
    }
}
