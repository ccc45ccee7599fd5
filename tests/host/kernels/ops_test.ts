// Holds that kernels/ops.ts lists every op, and that no op goes without its checks:
// the gradient rule against central differences, the kernel against the reference.
// Read from the sources of the tests, so that a new op cannot be forgotten.
import assert from "node:assert/strict";
import { globSync } from "node:fs";
import { join, posix, sep } from "node:path";
import type { OpDefinition } from "../../../engine/graph/op.ts";
import { OPS } from "../../../kernels/ops.ts";
import { withoutComments } from "../../support/typescript_source.ts";

const PROJECT = join(import.meta.dirname!, "..", "..", "..");

/** Ops that `checkKernel` cannot check, each with the reason and with what takes its place. */
const CHECKED_OTHERWISE: Readonly<Record<string, string>> = {
  adamw8bit:
    "codes may differ by one near the middle between two: adamw_8bit_test.ts compares them with the " +
    "reference by a rule of its own",
};

interface Declaration {
  /** Name of the export. */
  name: string;
  /** Path in the project. */
  path: string;
  op: OpDefinition;
}

/** Files that match a pattern, in order of their paths, without comments. */
async function sourcesOf(pattern: string): Promise<[path: string, code: string][]> {
  const paths = globSync(pattern, { cwd: PROJECT }).map((path) => path.split(sep).join("/")).sort();
  return await Promise.all(
    paths.map(async (path): Promise<[string, string]> => [
      path,
      withoutComments(await Deno.readTextFile(join(PROJECT, path))),
    ]),
  );
}

/** Names of exported ops, in the order of the file. */
function declaredIn(code: string): string[] {
  return [...code.matchAll(/^export const (\w+)[^=]*= defineOp\b/gm)].map(([, name]) => name);
}

function isOp(value: unknown): value is OpDefinition {
  const fields = ["name", "inferTypes", "lower", "reference"];
  return typeof value === "object" && value !== null && fields.every((field) => field in value);
}

/** All ops of `kernels/`, by path, then as the file has them. */
async function readDeclarations(): Promise<Declaration[]> {
  const declarations: Declaration[] = [];
  for (const [path, code] of await sourcesOf("kernels/**/*.ts")) {
    const exports: Record<string, unknown> = await import(`../../../${path}`);
    const names = declaredIn(code);
    const calls = code.match(/(?<!function )\bdefineOp\s*[<(]/g)?.length ?? 0;
    assert.equal(calls, names.length, `${path}: an op is declared as export const NAME = defineOp(…)`);
    const ops = Object.keys(exports).filter((name) => isOp(exports[name]));
    assert.deepEqual(ops.toSorted(), names.toSorted(), `${path}: exported ops, and those declared there`);
    for (const name of names) declarations.push({ name, path, op: exports[name] as OpDefinition });
  }
  return declarations;
}

/** What a file imports from `kernels/` by its name there: `kernels/linear.ts linear`. */
function kernelImports(path: string, code: string): Map<string, string> {
  const imports = new Map<string, string>();
  for (const [, names, from] of code.matchAll(/^import \{([^}]*)\} from "(\.[^"]+)";/gm)) {
    const target = posix.join(posix.dirname(path), from);
    for (const [, original, local] of names.matchAll(/(\w+)(?: as (\w+))?\s*(?:,|$)/g)) {
      if (target.startsWith("kernels/")) imports.set(local ?? original, `${target} ${original}`);
    }
  }
  return imports;
}

/**
 * The ops that a test file hands to `check`, as `kernelImports` names them. They are its
 * first argument, by their name or by that of a local: a copy with parts replaced (`const
 * op = { ...adamw, reference }`), or the first of the columns of a table (`for (const
 * [op, attrs] of TABLE)` with `const TABLE = [[add, {}], …];` at the file's top level).
 */
function checkedIn(path: string, code: string, check: string): string[] {
  const imports = kernelImports(path, code);
  const find = (pattern: string, text = code) =>
    [...text.matchAll(new RegExp(pattern, "gm"))].map(([, found]) => found);
  const names = find(String.raw`\b${check}\(\s*(\w+)\s*,`).flatMap((name) => {
    if (imports.has(name)) return [name];
    const copied = find(String.raw`\bconst ${name} = \{\s*\.\.\.(\w+),?\s`);
    const rows = find(String.raw`\bconst \[${name}\b[^\]]*\] of (\w+)\)`)
      .flatMap((table) => find(String.raw`^const ${table}\b[^=]*= \[$([^]*?)^\];`))
      .flatMap((text) => find(String.raw`^ {2}\[(\w+),`, text));
    return [...copied, ...rows];
  });
  return [...new Set(names.flatMap((name) => imports.get(name) ?? []))];
}

/** The ops that the tests of a folder check. */
async function checkedBy(check: string, pattern: string): Promise<Set<string>> {
  return new Set((await sourcesOf(pattern)).flatMap(([path, code]) => checkedIn(path, code, check)));
}

const declarations = await readDeclarations();
const idOf = ({ path, name }: Declaration) => `${path} ${name}`;

Deno.test("OPS lists each op of kernels/ once, in the order of the files, and nothing else", () => {
  const nameOf = (op: OpDefinition) => declarations.find((declaration) => declaration.op === op)?.name ?? op;
  assert.ok(declarations.length > 40, `only ${declarations.length} ops found`);
  assert.deepEqual(OPS.map(nameOf), declarations.map(({ name }) => name));
});

Deno.test("no two ops share a name", () => {
  for (const names of [OPS.map(({ name }) => name), declarations.map(({ name }) => name)]) {
    assert.deepEqual(names.filter((name, i) => names.indexOf(name) !== i), []);
  }
});

Deno.test("every gradient rule is checked against central differences", async () => {
  const checked = await checkedBy("checkVjp", "tests/host/kernels/*_test.ts");
  const ruled = declarations.filter(({ op }) => op.vjp);
  assert.ok(ruled.length > 15, `only ${ruled.length} ops have a gradient rule`);
  const missing = ruled.map(idOf).filter((id) => !checked.has(id));
  assert.deepEqual(missing, [], "without checkVjp(OP, …) in tests/host/kernels");
});

// All ops, so those too that gradient rules emit.
Deno.test("every kernel is checked against its op's reference", async () => {
  const checked = await checkedBy("checkKernel", "tests/device/kernels/*_test.ts");
  const missing = declarations.filter((declaration) => !checked.has(idOf(declaration)));
  assert.deepEqual(
    missing.map(({ name }) => name),
    Object.keys(CHECKED_OTHERWISE),
    "without checkKernel(OP, …) in tests/device/kernels, and those known to go without it",
  );
  const run = await checkedBy("openOp", "tests/device/kernels/*_test.ts");
  assert.deepEqual(missing.map(idOf).filter((id) => !run.has(id)), [], "without openOp(OP, …) instead");
});

Deno.test("checkedIn() finds ops by name, in copies and in tables, and none elsewhere", () => {
  const path = "tests/device/kernels/some_test.ts";
  const imports = [
    `import { add, gelu as activation, tanh, type GeluAttrs } from "../../../kernels/elementwise.ts";`,
    `import {\n  scale,\n  siluMul,\n} from "../../../kernels/elementwise.ts";`,
    `import { matmulProbe } from "../../support/matmul_probe.ts";`,
  ].join("\n");
  const found: [string, string[]][] = [
    [`await checkKernel(add, [], {});`, ["add"]],
    [`await checkKernel(\n  activation,\n  [],\n);`, ["gelu"]],
    [`const op = { ...tanh, reference };\n  return checkKernel(op, []);`, ["tanh"]],
    [`const op = {\n    ...tanh,\n  };\n  checkKernel(op, []);`, ["tanh"]],
    [
      `const ROWS: [OpDefinition, number][] = [\n  [add, 2],\n  [scale, 1],\n];\n` +
      `for (const [op, n] of ROWS) checkKernel(op, n);`,
      ["add", "scale"],
    ],
    [`const ROWS = [\n  [add, 2],\n];\nfor (const [op, n] of ROWS) other(op, n);`, []],
    [`const ROWS = [\n  [add, 2],\n];\nfor (const [op] of OTHERS) checkKernel(op, 2);`, []],
    [`const op = { ...tanh };\nawait checkKernel(op, []);`, ["tanh"]],
    [`const op = { ...tanh };\ncheckKernel(add, []);`, ["add"]],
    [`checkVjp(add, []); recheckKernel(scale, []); checkKernels(tanh, []);`, []],
    [`await checkKernel(matmulProbe, []); await checkKernel(unknown, []);`, []],
    [withoutComments(`// await checkKernel(add, [], {});\n/* checkKernel(add, []); */`), []],
  ];
  for (const [code, names] of found) {
    const expected = names.map((name) => `kernels/elementwise.ts ${name}`);
    assert.deepEqual(checkedIn(path, `${imports}\n${code}`, "checkKernel"), expected, code);
  }
});
