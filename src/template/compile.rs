//! Templates and expressions, compiled so that memory is counted.
//!
//! minijinja's operators have no hooks. So each instruction that may make a large value is preceded or followed by a filter
//! of [`operators`](super::operators) that counts it, and that gives operators their operands as this program means them.

use std::collections::BTreeMap;

use minijinja::machinery::{CodeGenerator, Instruction, Instructions, parse, parse_expr};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind, Value};

use super::checks::counted_check;
use super::filters::counted_filter;
use super::operators as op;

/// A filter that is looked up by its name each time.
const NOT_KEPT: u8 = u8::MAX;

pub fn template<'s>(name: &'s str, source: &'s str) -> Result<Instructions<'s>, Error> {
    // A program that reads lines needs the end of the last one.
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build()?;
    let statements = parse(source, name, syntax)?;
    let mut generator = CodeGenerator::new(name, source);
    generator.compile_stmt(&statements);
    counted(&generator.finish().0)
}

pub fn expression(source: &str) -> Result<Instructions<'_>, Error> {
    let expression = parse_expr(source)?;
    let mut generator = CodeGenerator::new("<expression>", source);
    generator.compile_expr(&expression);
    counted(&generator.finish().0)
}

fn counted<'s>(compiled: &Instructions<'s>) -> Result<Instructions<'s>, Error> {
    let mut counted = Instructions::new(compiled.name(), compiled.source());
    let mut moved_to = BTreeMap::new();
    let mut last = 0;
    for at in (0..).take_while(|at| compiled.get(*at).is_some()) {
        let Some(instruction) = compiled.get(at) else { break };
        for (part, instruction) in replacement(instruction)?.into_iter().enumerate() {
            let line = compiled.get_line(at).and_then(|line| u16::try_from(line).ok()).unwrap_or_default();
            last = counted.add_with_line(instruction, line);
            if part == 0 {
                moved_to.insert(at, last);
            }
        }
        moved_to.insert(at + 1, last + 1);
    }
    for at in 0..=last {
        if let Some(target) = counted.get_mut(at).and_then(jump_target) {
            *target = moved_to.get(target).copied().unwrap_or(*target);
        }
    }
    Ok(counted)
}

fn jump_target<'i>(instruction: &'i mut Instruction<'_>) -> Option<&'i mut u32> {
    match instruction {
        Instruction::Iterate(target)
        | Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// What stands in the place of an instruction.
fn replacement<'s>(instruction: &Instruction<'s>) -> Result<Vec<Instruction<'s>>, Error> {
    use Instruction as I;
    let filter = |name: &'static str, arguments: u16| I::ApplyFilter(name, Some(arguments), NOT_KEPT);
    // The operands as the operator is to see them, which leave the filter as a pair, the right one first.
    let with_operands = |name| vec![filter(name, 2), I::UnpackList(2), instruction.clone()];
    Ok(match instruction {
        I::EmitRaw(text) => vec![I::LoadConst(Value::from_safe_string((*text).to_owned())), I::Emit],
        I::StringConcat => with_operands(op::CONCAT),
        I::Add => with_operands(op::ADD),
        I::Mul => with_operands(op::MULTIPLY),
        I::Sub | I::Div | I::IntDiv | I::Rem | I::Pow => with_operands(op::NUMBERS),
        I::Neg => vec![filter(op::NUMBER, 1), I::Neg],
        I::Eq | I::Ne | I::Lt | I::Lte | I::Gt | I::Gte | I::In => vec![filter(op::comparison(instruction), 2)],
        I::CompareAndPreserve(_) => with_operands(op::CHAINED),
        I::BuildMap(_) | I::BuildList(_) | I::BuildTuple(_) => vec![instruction.clone(), filter(op::COUNT, 1)],
        I::Slice => vec![filter(op::SLICE, 4), I::UnpackList(4), I::Slice],
        I::UnpackList(count) => {
            vec![I::LoadConst(Value::from(*count)), filter(op::FEW, 2), instruction.clone()]
        }
        I::GetClosure => {
            vec![I::LoadConst(Value::UNDEFINED), filter(op::CLOSURE, 1), I::DiscardTop, instruction.clone()]
        }
        I::ApplyFilter(name, arguments, place) => vec![match counted_filter(name) {
            Some(name) => I::ApplyFilter(name, *arguments, NOT_KEPT),
            None => I::ApplyFilter(name, *arguments, *place),
        }],
        I::PerformTest(name, arguments, place) => vec![match counted_check(name) {
            Some(name) => I::PerformTest(name, *arguments, NOT_KEPT),
            None => I::PerformTest(name, *arguments, *place),
        }],
        I::UnpackLists(_) | I::MergeKwargs(_) => {
            return Err(Error::new(ErrorKind::SyntaxError, "* and ** before an argument are not supported"));
        }
        other => vec![other.clone()],
    })
}
