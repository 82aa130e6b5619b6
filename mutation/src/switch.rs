//! Puts the mutants of a file into its text, each behind a switch.
//!
//! `a + b` becomes `(if crate::mutant::on(7) { (a - b) } else if crate::mutant::on(8) { (a * b) } else { (a + b) })`. The
//! mutated branch is the text of the file, without further switches, so the text grows by the depth of its expressions
//! and not by powers of two. All is inserted and nothing taken away: comments and lines' order stay.

use crate::Answer;
use crate::list::{Mutant, Place};
use crate::splice::Splice;
use proc_macro2::Span;
use std::collections::HashMap;
use std::ops::Range;
use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

/// `text` with those of `mutants` that can be switched; and those that cannot compile.
pub(crate) fn switch(text: &str, mutants: &[&Mutant]) -> Answer<(Splice, Vec<u32>)> {
    let file = syn::parse_file(text)?;
    let mut waiting: HashMap<_, Vec<_>> = HashMap::new();
    for mutant in mutants {
        // Of a function that returns `impl Trait` the mutant is of another type than the body.
        if !(mutant.is_opaque && mutant.genre == "FnValue") {
            waiting
                .entry((mutant.genre.as_str(), mutant.start))
                .or_default()
                .push(*mutant);
        }
    }
    let mut switches = Switches {
        text,
        waiting,
        splice: Splice::default(),
        impossible: Vec::new(),
    };
    switches.visit_file(&file);
    Ok((switches.splice, switches.impossible))
}

/// A name that is bound, and not that of a constant or of a variant.
fn is_binding(name: &syn::PatIdent) -> bool {
    name.subpat.is_none()
        && name
            .ident
            .to_string()
            .starts_with(|first: char| first.is_lowercase())
}

struct Switches<'a> {
    text: &'a str,
    /// By genre and place.
    waiting: HashMap<(&'a str, Place), Vec<&'a Mutant>>,
    splice: Splice,
    impossible: Vec<u32>,
}

impl<'a> Switches<'a> {
    fn take(&mut self, genre: &'static str, at: Span) -> Vec<&'a Mutant> {
        let start = at.start();
        self.waiting
            .remove(&(genre, (start.line, start.column + 1)))
            .unwrap_or_default()
    }

    fn text_of(&self, span: Span) -> &'a str {
        &self.text[span.byte_range()]
    }

    /// The expression at `whole`, or a mutant's.
    fn choose(&mut self, whole: Range<usize>, mutants: Vec<(&'a Mutant, String)>) {
        if !mutants.is_empty() {
            self.splice.choose(
                whole,
                "(",
                mutants.into_iter().map(|(mutant, text)| (mutant.id, text)),
            );
        }
    }

    fn arm(&mut self, arm: &syn::Arm) {
        let takes_all = matches!(&arm.pat, syn::Pat::Wild(_))
            || matches!(&arm.pat, syn::Pat::Ident(name) if is_binding(name));
        for mutant in self.take("MatchArm", arm.span()) {
            match &arm.guard {
                Some((_, guard)) => self.splice.and_not(guard.span().byte_range(), mutant.id),
                // The others would not be all that there can be.
                None if takes_all => self.impossible.push(mutant.id),
                None => self
                    .splice
                    .insert(arm.pat.span().byte_range().end, mutant.id, " if !", ""),
            }
        }
    }

    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else {
            return;
        };
        for mutant in self.take("FnValue", first.span()) {
            let at = first.span().byte_range().start;
            self.splice.insert(
                at,
                mutant.id,
                "if ",
                &format!(" {{ return {}; }} ", mutant.replacement),
            );
        }
    }
}

impl<'a, 'ast> Visit<'ast> for Switches<'a> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.sig.constness.is_none() {
            self.body(&function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if function.sig.constness.is_none() {
            self.body(&function.block);
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, function);
    }

    fn visit_expr_binary(&mut self, binary: &'ast syn::ExprBinary) {
        let whole = binary.span().byte_range();
        let operator = binary.op.span().byte_range();
        let (left, right) = (
            &self.text[whole.start..operator.start],
            &self.text[operator.end..whole.end],
        );
        let mutants = self.take("BinaryOperator", binary.op.span()).into_iter();
        let mutants = mutants
            .map(|mutant| (mutant, format!("{left}{}{right}", mutant.replacement)))
            .collect();
        self.choose(whole, mutants);
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_unary(&mut self, unary: &'ast syn::ExprUnary) {
        let operand = self.text_of(unary.expr.span());
        let mutants = self.take("UnaryOperator", unary.op.span()).into_iter();
        let mutants = mutants.map(|mutant| (mutant, operand.to_owned())).collect();
        self.choose(unary.span().byte_range(), mutants);
        visit::visit_expr_unary(self, unary);
    }

    fn visit_expr_match(&mut self, expression: &'ast syn::ExprMatch) {
        let begin = self.splice.mutants().len();
        for arm in &expression.arms {
            self.arm(arm);
        }
        // Where the compiler sees it that an arm is missed.
        let deleted = self.splice.mutants()[begin..].to_vec();
        self.splice
            .watch(expression.expr.span().byte_range(), deleted);
        visit::visit_expr_match(self, expression);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        if let Some((_, guard)) = &arm.guard {
            let mutants = self.take("MatchArmGuard", guard.span()).into_iter();
            let mutants = mutants
                .map(|mutant| (mutant, mutant.replacement.clone()))
                .collect();
            self.choose(guard.span().byte_range(), mutants);
        }
        visit::visit_arm(self, arm);
    }

    fn visit_expr_struct(&mut self, expression: &'ast syn::ExprStruct) {
        for field in &expression.fields {
            let mutants = self.take("StructField", field.span());
            if let (Some(mutant), Some(rest)) = (mutants.first(), &expression.rest) {
                let member = self.text_of(field.member.span());
                let path = self.text_of(expression.path.span());
                let deleted = format!("({path} {{ ..{} }}).{member}", self.text_of(rest.span()));
                let open = match field.colon_token {
                    Some(_) => "(",
                    None => &format!("{member}: ("),
                };
                self.splice.choose(
                    field.expr.span().byte_range(),
                    open,
                    [(mutant.id, deleted)].into_iter(),
                );
            }
        }
        visit::visit_expr_struct(self, expression);
    }

    // What is computed by the compiler knows nothing of an environment variable.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_item_enum(&mut self, _: &'ast syn::ItemEnum) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_generic_argument(&mut self, _: &'ast syn::GenericArgument) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        self.visit_expr(&repeat.expr);
    }
}

#[cfg(test)]
mod tests {
    use super::switch;
    use crate::list::{Mutant, Part};

    /// A mutant whose place is that of `at` in `text`, which has one line.
    fn mutant(id: u32, genre: &str, text: &str, at: &str, replacement: &str) -> Mutant {
        Mutant {
            id,
            part: Part::Core,
            name: String::new(),
            file: String::new(),
            function: String::new(),
            genre: genre.to_owned(),
            replacement: replacement.to_owned(),
            start: (1, text.find(at).expect("it is in the text") + 1),
            is_opaque: false,
        }
    }

    fn switched(text: &str, mutants: &[Mutant]) -> String {
        let (splice, _) = switch(text, &mutants.iter().collect::<Vec<_>>()).expect("it is Rust");
        splice.apply(text).0.replace("crate::mutant::on", "on")
    }

    #[test]
    fn operators_in_each_other_nest() {
        let text = "fn f() -> bool { a + 1 < !b }";
        let mutants = [
            mutant(1, "BinaryOperator", text, "+", "-"),
            mutant(2, "BinaryOperator", text, "<", ">"),
            mutant(3, "BinaryOperator", text, "<", "<="),
            mutant(4, "UnaryOperator", text, "!", ""),
        ];
        let expected = "fn f() -> bool { (if on(2) { (a + 1 > !b) } else if on(3) { (a + 1 <= !b) } else { \
            ((if on(1) { (a - 1) } else { (a + 1) }) < (if on(4) { (b) } else { (!b) })) }) }";
        assert_eq!(switched(text, &mutants), expected);
    }

    #[test]
    fn a_function_returns_early() {
        let text = "fn f() -> u8 { g(); 7 }";
        let mutants = [mutant(1, "FnValue", text, "g", "0")];
        assert_eq!(
            switched(text, &mutants),
            "fn f() -> u8 { if on(1) { return 0; } g(); 7 }"
        );
    }

    #[test]
    fn an_arm_and_its_guard() {
        let text = "fn f() { match x { 1 => a, n if n > 7 => b, _ => c } }";
        let mutants = [
            mutant(1, "MatchArm", text, "1", ""),
            mutant(2, "MatchArm", text, "n if", ""),
            mutant(3, "MatchArmGuard", text, "n >", "true"),
            mutant(4, "MatchArm", text, "_", ""),
        ];
        let expected = "fn f() { match x { 1 if !on(1) => a, \
            n if !on(2) && ((if on(3) { (true) } else { (n > 7) })) => b, _ => c } }";
        assert_eq!(switched(text, &mutants), expected);
    }

    #[test]
    fn a_field_that_the_rest_has() {
        let text = "fn f() { S { a: 1, b, ..rest() } }";
        let mutants = [
            mutant(1, "StructField", text, "a:", ""),
            mutant(2, "StructField", text, "b,", ""),
        ];
        let expected = "fn f() { S { a: (if on(1) { ((S { ..rest() }).a) } else { (1) }), \
            b: (if on(2) { ((S { ..rest() }).b) } else { (b) }), ..rest() } }";
        assert_eq!(switched(text, &mutants), expected);
    }

    #[test]
    fn constants_have_none() {
        let text = "const A: u8 = 1 + 2; const fn f() -> u8 { 3 - 4 }";
        let mutants = [
            mutant(1, "BinaryOperator", text, "+", "-"),
            mutant(2, "BinaryOperator", text, "-", "+"),
        ];
        assert_eq!(switched(text, &mutants), text);
    }
}
