//! Reads the definitions, paths and modules of files.

use std::path::PathBuf;

use proc_macro2::{TokenStream, TokenTree};
use syn::{Attribute, Item, Meta, UseTree, Visibility, visit, visit::Visit};

use super::{Library, Mention, Segments, is_facade};

/// Reads a file, and those of the modules that it declares.
pub(super) struct Reader<'a> {
    sources: &'a mut Library,
    source: &'a dyn Fn(&str) -> Option<String>,
    file: PathBuf,
    /// The directory of the modules declared here.
    folder: PathBuf,
    module: Segments,
}

impl<'a> Reader<'a> {
    pub(super) fn file(
        library: &'a mut Library,
        source: &'a dyn Fn(&str) -> Option<String>,
        file: PathBuf,
        folder: PathBuf,
        module: Segments,
    ) {
        let text = source(file.to_str().unwrap()).unwrap();
        let items =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{file:?}: {error}")).items;
        Reader { sources: library, source, file, folder, module }.items(&items);
    }

    fn items(&mut self, items: &[Item]) {
        let file = self.file.to_str().unwrap().to_owned();
        let here = self.sources.modules.entry(self.module.clone()).or_default();
        here.files.insert(file.clone());
        let mut in_face = Vec::new();
        for item in items {
            let names = definitions(item);
            let allowed = match item {
                Item::Mod(_) | Item::Use(_) => true,
                Item::Struct(item) => has_cfg(&item.attrs, "doctest"),
                Item::Macro(item) => item.mac.path.is_ident("compile_error"),
                _ => false,
            };
            if is_facade(&file) && !allowed {
                in_face.push(names.first().map_or("an `impl`".into(), |name| format!("`{name}`")));
            }
            for name in names {
                here.definitions.entry(name).or_default().insert(file.clone());
            }
        }
        let in_face = in_face.into_iter().map(|item| (file.clone(), item));
        self.sources.in_faces.extend(in_face);
        items.iter().for_each(|item| self.visit_item(item));
    }

    fn mention(&mut self, path: Segments, glob: bool, re_export: bool) {
        let file = self.file.to_str().unwrap().to_owned();
        let re_export = re_export && is_facade(&file);
        let module = self.module.clone();
        self.sources.mentions.insert(Mention { file, module, path, glob, re_export });
    }

    fn use_tree(&mut self, tree: &UseTree, mut path: Segments, re_export: bool) {
        let name = match tree {
            UseTree::Path(tree) => {
                path.push(tree.ident.to_string());
                return self.use_tree(&tree.tree, path, re_export);
            }
            UseTree::Group(group) => {
                return group
                    .items
                    .iter()
                    .for_each(|tree| self.use_tree(tree, path.clone(), re_export));
            }
            UseTree::Glob(_) => return self.mention(path, true, re_export),
            UseTree::Name(tree) => (&tree.ident, &tree.ident),
            UseTree::Rename(tree) => (&tree.ident, &tree.rename),
        };
        let (item, mut name) = (name.0.to_string(), name.1.to_string());
        if item != "self" {
            path.push(item);
        } else if name == "self" {
            name.clone_from(path.last().unwrap());
        }
        let here = self.sources.modules.get_mut(&self.module).unwrap();
        here.imports.insert(name, path.clone());
        self.mention(path, false, re_export);
    }

    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        let colon =
            |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        let mut at = 0;
        while at < tokens.len() {
            let mut path = Segments::new();
            while let Some(TokenTree::Ident(name)) = tokens.get(at) {
                path.push(name.to_string());
                at += if colon(at + 1) && colon(at + 2) { 3 } else { 1 };
                if !colon(at - 1) {
                    break;
                }
            }
            if path.len() > 1 {
                self.mention(path, false, false);
            } else if path.is_empty() {
                if let TokenTree::Group(group) = &tokens[at] {
                    self.tokens(group.stream());
                }
                at += 1;
            }
        }
    }
}

impl Visit<'_> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &syn::ItemMod) {
        if has_cfg(&item.attrs, "test") || has_cfg(&item.attrs, "doc") {
            return;
        }
        let name = item.ident.to_string();
        let module = [&self.module[..], std::slice::from_ref(&name)].concat();
        let folder = self.folder.join(&name);
        let (library, source) = (&mut *self.sources, self.source);
        if let Some((_, items)) = &item.content {
            let file = self.file.clone();
            return Reader { sources: library, source, file, folder, module }.items(items);
        }
        let at_path = item.attrs.iter().find_map(|attribute| match &attribute.meta {
            Meta::NameValue(meta) if meta.path.is_ident("path") => match &meta.value {
                syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(path), .. }) => Some(path.value()),
                _ => None,
            },
            _ => None,
        });
        let beside = self.file.parent().unwrap();
        let (file, folder) = match at_path {
            Some(path) => (beside.join(&path), beside.join(path).parent().unwrap().to_owned()),
            None if source(folder.with_extension("rs").to_str().unwrap()).is_some() => {
                (folder.with_extension("rs"), folder)
            }
            None => (folder.join("mod.rs"), folder),
        };
        Reader::file(library, source, file, folder, module);
    }

    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if item.leading_colon.is_none() {
            let re_export = !matches!(item.vis, Visibility::Inherited);
            self.use_tree(&item.tree, Segments::new(), re_export);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        let names: Segments =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() && names.len() > 1 {
            self.mention(names, false, false);
        }
        visit::visit_path(self, path);
    }

    fn visit_item_macro(&mut self, item: &syn::ItemMacro) {
        // What a macro for users writes are the public paths.
        if !item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export")) {
            self.tokens(item.mac.tokens.clone());
        }
    }

    fn visit_macro(&mut self, invoked: &syn::Macro) {
        self.tokens(invoked.tokens.clone());
    }

    fn visit_attribute(&mut self, _: &Attribute) {}

    fn visit_vis_restricted(&mut self, _: &syn::VisRestricted) {}
}

fn has_cfg(attributes: &[Attribute], option: &str) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            list.tokens.to_string().split(['(', ',']).any(|part| part.trim() == option)
        }
        _ => false,
    })
}

/// Returns the names that an item defines. A macro may define every name it is given.
fn definitions(item: &Item) -> Segments {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        Item::Macro(item) => match &item.ident {
            Some(name) => name,
            None => {
                return item
                    .mac
                    .tokens
                    .clone()
                    .into_iter()
                    .map(|token| token.to_string())
                    .collect();
            }
        },
        _ => return Segments::new(),
    };
    vec![name.to_string()]
}
