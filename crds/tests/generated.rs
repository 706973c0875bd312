//! What is checked in is what the types say.

use std::path::Path;

use tributary_crds::crd;

#[test]
fn checked_in_crds_are_generated_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["yaml", "../charts/tributary/files/crds"] {
        let folder = root.join(folder);
        let mut wanted: Vec<_> = crd::all().iter().map(crd::file_name).collect();
        let mut found: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        wanted.sort();
        found.sort();
        assert_eq!(found, wanted, "{}", folder.display());
        for definition in crd::all() {
            let file = folder.join(crd::file_name(&definition));
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(
                text == crd::yaml(&definition).unwrap(),
                "{} is stale: run `cargo run -p tributary-crds --bin crdgen`",
                file.display()
            );
        }
    }
}
