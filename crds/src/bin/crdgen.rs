//! Writes the CustomResourceDefinitions where they are checked in: `crds/yaml/` and the chart, which applies them with its templates (Helm never upgrades a `crds/` folder).

use std::path::Path;

use tributary_crds::crd;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for folder in ["yaml", "../charts/tributary/files/crds"] {
        let folder = root.join(folder);
        std::fs::create_dir_all(&folder)?;
        for definition in crd::all() {
            let file = folder.join(crd::file_name(&definition));
            std::fs::write(&file, crd::yaml(&definition)?)?;
            println!("{}", file.display());
        }
    }
    Ok(())
}
