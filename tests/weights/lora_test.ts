import { assert, assertAlmostEquals, assertEquals, assertThrows } from "@std/assert";
import { ModelFileError, ModelNotFoundError } from "../../weights/errors.ts";
import { sha256Of } from "../../weights/files.ts";
import { openFormula } from "../../weights/formula.ts";
import { LIMITS } from "../../weights/limits.ts";
import { mergeLoras, openLora } from "../../weights/lora.ts";
import { byPart } from "../../weights/manifest.ts";
import { toFloat32 } from "../../weights/values.ts";
import { storeTensors, withFile, withFolder } from "./safetensors_bytes.ts";
import { drawing } from "./safetensors_mutations.ts";

type Shape = readonly number[];

const CONV = "mid_block.resnets.0.conv1";
const LINEAR = "mid_block.attentions.0.proj_in";
const SHAPES: ReadonlyMap<string, Shape> = new Map([
  [`${CONV}.weight`, [6, 4, 3, 3]],
  [`${CONV}.bias`, [6]],
  [`${LINEAR}.weight`, [6, 4]],
  ["mid_block.resnets.0.norm1.weight", [4]],
]);
const parts = byPart((part) => openFormula(part, part === "unet" ? SHAPES : new Map()));
const conv = "lora_unet_mid_block_resnets_0_conv1";
const linear = "lora_unet_mid_block_attentions_0_proj_in";

const count = (shape: Shape) => shape.reduce((a, b) => a * b, 1);

/** Values of no pattern. */
function valuesOf(name: string, shape: Shape): Float32Array {
  const source = openFormula(name, new Map([["proj", shape]]));
  return toFloat32(source.tensors.get("proj")!, source.read("proj"));
}

/** A file with such values, or these. */
function lora(
  tensors: Readonly<Record<string, Shape | number>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  return storeTensors(
    new Map(
      Object.entries(tensors).map(([name, given]) => {
        const [shape, values] = typeof given === "number"
          ? [[], Float32Array.of(given)]
          : [given, valuesOf(name, given)];
        return [name, { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) }];
      }),
    ),
    metadata,
  );
}

/** What the model's tensor `name` is with a file at a weight. */
function merged(file: Uint8Array, name: string, weight: number): Float32Array {
  let values = new Float32Array();
  withFile(file, (path) => {
    using source = mergeLoras(parts.unet, "unet", [{ file: openLora(path, parts), weight }]);
    values = toFloat32(source.tensors.get(name)!, source.read(name));
  });
  return values;
}

function assertClose(got: ArrayLike<number>, want: ArrayLike<number>, what: string): void {
  assertEquals(got.length, want.length, what);
  for (let i = 0; i < want.length; i++) assertAlmostEquals(got[i]!, want[i]!, 1e-5, `${what} at ${i}`);
}

const base = (name: string) => toFloat32(parts.unet.tensors.get(name)!, parts.unet.read(name));

/** Each kind by its definition, element by element: what is added to output o, input i, tap t at weight 1. */
const KINDS: readonly {
  readonly what: string;
  readonly target: string;
  readonly tensors: Readonly<Record<string, Shape | number>>;
  readonly add: (of: (name: string, ...at: number[]) => number, o: number, i: number, t: number) => number;
}[] = [
  {
    what: "low rank with an alpha of its own",
    target: `${LINEAR}.weight`,
    tensors: { [`${linear}.lora_down.weight`]: [5, 4], [`${linear}.lora_up.weight`]: [6, 5], [`${linear}.alpha`]: 2 },
    add: (of, o, i) => 2 / 5 * sum(5, (r) => of("lora_up.weight", o, r) * of("lora_down.weight", r, i)),
  },
  {
    what: "low rank of a convolution",
    target: `${CONV}.weight`,
    tensors: { [`${conv}.lora_down.weight`]: [2, 4, 3, 3], [`${conv}.lora_up.weight`]: [6, 2, 1, 1] },
    add: (of, o, i, t) => sum(2, (r) => of("lora_up.weight", o, r) * of("lora_down.weight", r, i, t)),
  },
  {
    what: "low rank with a kernel in the middle",
    target: `${CONV}.weight`,
    tensors: {
      [`${conv}.lora_down.weight`]: [2, 4, 1, 1],
      [`${conv}.lora_mid.weight`]: [3, 2, 3, 3],
      [`${conv}.lora_up.weight`]: [6, 3, 1, 1],
    },
    add: (of, o, i, t) =>
      sum(
        3,
        (m) =>
          sum(2, (n) => of("lora_up.weight", o, m) * of("lora_mid.weight", m, n, t) * of("lora_down.weight", n, i)),
      ),
  },
  {
    what: "a Hadamard product of two with kernels",
    target: `${CONV}.weight`,
    tensors: {
      [`${conv}.hada_w1_a`]: [2, 6],
      [`${conv}.hada_w1_b`]: [2, 4],
      [`${conv}.hada_t1`]: [2, 2, 3, 3],
      [`${conv}.hada_w2_a`]: [2, 6],
      [`${conv}.hada_w2_b`]: [2, 4],
      [`${conv}.hada_t2`]: [2, 2, 3, 3],
      [`${conv}.alpha`]: 1,
    },
    add: (of, o, i, t) =>
      ["1", "2"].map((n) =>
        sum(2, (j) => sum(2, (k) => of(`hada_w${n}_a`, j, o) * of(`hada_t${n}`, j, k, t) * of(`hada_w${n}_b`, k, i)))
      ).reduce((a, b) => a * b) / 2,
  },
  {
    what: "a Kronecker product, both of whose factors are products",
    target: `${LINEAR}.weight`,
    tensors: {
      [`${linear}.lokr_w1_a`]: [2, 3],
      [`${linear}.lokr_w1_b`]: [3, 2],
      [`${linear}.lokr_w2_a`]: [3, 3],
      [`${linear}.lokr_w2_b`]: [3, 2],
      [`${linear}.alpha`]: 6,
    },
    add: (of, o, i) =>
      2 * sum(3, (r) => of("lokr_w1_a", Math.floor(o / 3), r) * of("lokr_w1_b", r, Math.floor(i / 2))) *
      sum(3, (r) => of("lokr_w2_a", o % 3, r) * of("lokr_w2_b", r, i % 2)),
  },
  {
    what: "a Kronecker product of whole factors, whose alpha says nothing",
    target: `${CONV}.weight`,
    tensors: { [`${conv}.lokr_w1`]: [2, 2], [`${conv}.lokr_w2`]: [3, 2, 3, 3], [`${conv}.alpha`]: 100 },
    add: (of, o, i, t) => of("lokr_w1", Math.floor(o / 3), Math.floor(i / 2)) * of("lokr_w2", o % 3, i % 2, t),
  },
  {
    what: "a Kronecker product with a kernel",
    target: `${CONV}.weight`,
    tensors: {
      [`${conv}.lokr_w1`]: [2, 2],
      [`${conv}.lokr_w2_a`]: [2, 3],
      [`${conv}.lokr_w2_b`]: [2, 2],
      [`${conv}.lokr_t2`]: [2, 2, 3, 3],
    },
    add: (of, o, i, t) =>
      of("lokr_w1", Math.floor(o / 3), Math.floor(i / 2)) *
      sum(2, (j) => sum(2, (k) => of("lokr_w2_a", j, o % 3) * of("lokr_t2", j, k, t) * of("lokr_w2_b", k, i % 2))),
  },
  {
    what: "a difference",
    target: `${CONV}.weight`,
    tensors: { [`${conv}.diff`]: [6, 4, 3, 3] },
    add: (of, o, i, t) => of("diff", o, i, t),
  },
  {
    what: "a difference of biases",
    target: `${CONV}.bias`,
    tensors: { [`${conv}.diff_b`]: [6] },
    add: (of, o) => of("diff_b", o),
  },
  {
    what: "a difference of a normalisation",
    target: "mid_block.resnets.0.norm1.weight",
    tensors: { "lora_unet_mid_block_resnets_0_norm1.w_norm": [4] },
    add: (of, o) => of("w_norm", o),
  },
];

function sum(terms: number, term: (index: number) => number): number {
  return Array.from({ length: terms }, (_, i) => term(i)).reduce((a, b) => a + b, 0);
}

for (const { what, target, tensors, add } of KINDS) {
  Deno.test(`a LoRA is merged by its definition: ${what}`, () => {
    const values = new Map(
      Object.entries(tensors).map(([name, shape]) => {
        const key = name.slice(name.indexOf(".") + 1);
        return [key, typeof shape === "number" ? undefined : { shape, values: valuesOf(name, shape) }];
      }),
    );
    const of = (name: string, first: number, second = 0, tap = 0) => {
      const { shape, values: all } = values.get(name)!;
      const taps = count(shape.slice(2));
      return all[(first * (shape[1] ?? 1) + second) * taps + tap]!;
    };
    const [, inputs = 1, ...window] = SHAPES.get(target)!;
    const taps = count(window);
    const want = base(target).map((value, at) =>
      value + -0.5 * add(of, Math.floor(at / (inputs * taps)), Math.floor(at / taps) % inputs, at % taps)
    );
    assertClose(merged(lora(tensors), target, -0.5), want, what);
    withFile(lora(tensors), (path) => {
      const file = openLora(path, parts);
      using source = mergeLoras(parts.unet, "unet", [{ file, weight: -1 }, { file, weight: 0.5 }]);
      const product = source.product(target)?.();
      assertEquals(product !== undefined, /^low rank(?!.*kernel)/.test(what));
      if (product === undefined) return;
      const { rank, up, down } = product;
      const row = inputs * taps;
      const sums = base(target).map((value, at) =>
        value + sum(rank, (r) => up[Math.floor(at / row) * rank + r]! * down[r * row + at % row]!)
      );
      assertClose(sums, want, `${what}, as a product`);
    });
  });
}

Deno.test("a magnitude is that of rows, or of columns where the file has it for those", () => {
  const own = { [`${linear}.lora_down.weight`]: [2, 4], [`${linear}.lora_up.weight`]: [6, 2] };
  const target = `${LINEAR}.weight`;
  const moved = merged(lora(own), target, 1);
  const old = base(target);
  for (
    const [name, shape, line, lines] of [
      ["dora_scale", [6, 1], (at: number) => Math.floor(at / 4), 6],
      ["lora_magnitude_vector", [6], (at: number) => Math.floor(at / 4), 6],
      ["dora_scale", [1, 4], (at: number) => at % 4, 4],
    ] as const
  ) {
    const magnitude = valuesOf(`${linear}.${name}`, shape);
    const lengths = Array.from({ length: lines }, (_, l) => Math.hypot(...moved.filter((_, at) => line(at) === l)));
    const want = moved.map((value, at) => {
      const whole = value * magnitude[line(at)]! / lengths[line(at)]!;
      return old[at]! + 0.25 * (whole - old[at]!);
    });
    assertClose(merged(lora({ ...own, [`${linear}.${name}`]: shape }), target, 0.25), want, `${name} ${shape}`);
  }
});

Deno.test("what has no alpha is scaled as diffusers' metadata says", () => {
  const own = { [`unet.${LINEAR}.lora_A.weight`]: [4, 4], [`unet.${LINEAR}.lora_B.weight`]: [6, 4] };
  const [target, old] = [`${LINEAR}.weight`, base(`${LINEAR}.weight`)];
  const whole = merged(lora(own), target, 1);
  for (const [settings, factor] of [[{ lora_alpha: 2 }, 0.5], [{ lora_alpha: 2, use_rslora: true }, 1]] as const) {
    const settingsOfPart = Object.fromEntries(Object.entries(settings).map(([name, value]) => [`unet.${name}`, value]));
    const metadata = { lora_adapter_metadata: JSON.stringify(settingsOfPart) };
    assertClose(
      merged(lora(own, metadata), target, 1),
      whole.map((value, at) => old[at]! + factor * (value - old[at]!)),
      JSON.stringify(settings),
    );
  }
});

Deno.test("what a LoRA does not change is read as it was, and what it changes in any pieces", async () => {
  const file = lora({ [`${conv}.diff`]: [6, 4, 3, 3] });
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeFileSync(`${folder}/a.safetensors`, file);
    const opened = openLora(`${folder}/a.safetensors`, parts);
    using source = mergeLoras(parts.unet, "unet", [{ file: opened, weight: 1 }, { file: opened, weight: -1 }]);
    assertEquals([...source.changed], [`${CONV}.weight`]);
    assertEquals(source.tensors.get(`${LINEAR}.weight`), parts.unet.tensors.get(`${LINEAR}.weight`));
    assertEquals(source.read(`${LINEAR}.weight`), parts.unet.read(`${LINEAR}.weight`));
    assertEquals(await source.readAsync(`${LINEAR}.weight`), parts.unet.read(`${LINEAR}.weight`));
    const all = source.read(`${CONV}.weight`);
    assertClose(new Float32Array(all.buffer), base(`${CONV}.weight`), "there and back");
    const into = new Uint8Array(100);
    assertEquals(await source.readAsync(`${CONV}.weight`, { begin: 36, into }), all.slice(36, 136));
    Deno.writeFileSync(`${folder}/a.safetensors`, lora({ [`${conv}.diff`]: [6, 4, 3, 3], other: [1] }));
    assertThrows(
      () => mergeLoras(parts.unet, "unet", [{ file: opened, weight: 1 }]),
      ModelFileError,
      "the file has changed since it was checked",
    );
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
});

const down = `${linear}.lora_down.weight`;
const up = `${linear}.lora_up.weight`;

/** Files that are refused, and why. */
const REFUSED: readonly (readonly [Readonly<Record<string, Shape | number>>, string])[] = [
  [{}, "nothing in it belongs to a layer of this model: 0 tensors"],
  [{ "unet.conv_in.weight": [1] }, 'belongs to a layer of this model: 1 tensor ("unet.conv_in.weight")'],
  [{ "lora_unet_other.alpha": 1 }, "nothing in it belongs"],
  [{ [`${linear}.alpha`]: 1 }, "nothing in it belongs"],
  [{ [down]: [2, 4] }, `the layer "${linear}" has no up`],
  [{ [up]: [6, 2] }, `the layer "${linear}" has no down`],
  [{ [down]: [2, 4], [up]: [6, 3] }, "is [6, 3], and [6, 2] fits"],
  [{ [down]: [2, 5], [up]: [6, 2] }, "is [2, 5], and [any, 4] fits"],
  [{ [down]: [2, 4], [up]: [7, 2] }, "this is a LoRA for another model, or damaged"],
  [{ [down]: [0, 4], [up]: [6, 0] }, "is of rank 0; ranks from 1 to 4096 are read"],
  [{ [down]: [5000, 4], [up]: [6, 5000] }, "is of rank 5000"],
  [{ [down]: [2, 4], [up]: [6, 2], [`${linear}.alpha`]: [2] }, "one number fits"],
  [{ [down]: [2, 4], [up]: [6, 2], [`${linear}.dora_scale`]: [5, 1] }, "is [5, 1], and [6, 1] fits"],
  [{ [down]: [2, 4], [up]: [6, 2], [`${linear}.diff`]: [6, 4] }, "has tensors of more than one kind"],
  [{ [`${linear}.dora_scale`]: [6, 1] }, "has a scale, and nothing that it could scale"],
  [{ [down]: [2, 4], [up]: [6, 2], [`unet.${LINEAR}.lora_A.weight`]: [2, 4] }, "are two of one kind for one layer"],
  [{ [`${linear}.hada_w1_a`]: [6, 2], [`${linear}.hada_w1_b`]: [2, 4] }, "has no hada_w2_b"],
  [{ [`${linear}.lokr_w1`]: [2, 2], [`${linear}.lokr_w2`]: [3, 3] }, "which do not make 6x4"],
  [{ [`${linear}.lokr_w1`]: [2, 2] }, "has no lokr_w2_b"],
  [{ [`${conv}.lora_mid.weight`]: [2, 2, 3, 3] }, "has no up"],
  [{ [`${conv}.diff`]: [6, 4] }, "is [6, 4], and [6, 36] fits"],
  [{ [`${conv}.diff_b`]: [7] }, "is [7], and [6, 1] fits"],
];

Deno.test("LoRAs that are damaged, incomplete or another model's are refused in words", () => {
  assert(REFUSED.length >= 20);
  for (const [tensors, message] of REFUSED) {
    withFile(lora(tensors), (path) => assertThrows(() => openLora(path, parts), ModelFileError, message));
  }
  const pattern = { lora_adapter_metadata: '{"unet.lora_alpha": 2, "unet.alpha_pattern": {"to_q": 1}}' };
  for (
    const [metadata, message] of [[pattern, "alpha_pattern"], [{ lora_adapter_metadata: "{" }, "is not JSON"]] as const
  ) {
    withFile(
      lora({ [down]: [2, 4], [up]: [6, 2] }, metadata),
      (path) => assertThrows(() => openLora(path, parts), ModelFileError, message),
    );
  }
  const infinite = lora({ [down]: [2, 4], [up]: [6, 2], [`${linear}.alpha`]: Infinity });
  assertThrows(() => merged(infinite, `${LINEAR}.weight`, 1), ModelFileError, "has the alpha Infinity");
  withFile(new Uint8Array(5), (path) => assertThrows(() => openLora(path, parts), ModelFileError));
  assertThrows(() => openLora("nowhere.safetensors", parts), ModelNotFoundError);
});

Deno.test("tensors that nothing uses are named, and the others used", () => {
  const extra = { "lora_te2_text_projection.alpha": 1, "bundle_emb.x": [2], [`${linear}.diff_b`]: [6] };
  withFile(lora({ [down]: [2, 4], [up]: [6, 2], ...extra }), (path) => {
    const { used, unused, sha256 } = openLora(path, parts);
    assertEquals([used, [...unused].sort()], [2, Object.keys(extra).sort()]);
    assertEquals(sha256.length, 64);
  });
});

/** Files that were good before something about a tensor was changed. */
const COUNT = 2000;

Deno.test(`LoRA: ${COUNT} mutated files are merged or refused in words`, () => {
  const good = Object.assign({}, ...KINDS.map(({ tensors }) => tensors)) as Record<string, Shape | number>;
  const outcomes = { merged: 0, refused: 0 };
  withFolder((folder) => {
    for (let seed = 0; seed < COUNT; seed++) {
      const draw = drawing(seed);
      // One kind alone, or some tensors of all kinds.
      const all = Object.entries(draw(2) === 0 ? KINDS[draw(KINDS.length)]!.tensors : good);
      const tensors = Object.fromEntries(
        all.filter(() => draw(8) > 0).map(([name, shape]) => {
          if (draw(6) > 0 || typeof shape === "number") return [name, shape];
          if (draw(2) === 0) return [all[draw(all.length)]![0], shape];
          return [name, shape.with(draw(shape.length), draw(8))];
        }),
      );
      const path = `${folder}/mutated.safetensors`;
      Deno.writeFileSync(path, lora(tensors));
      try {
        using source = mergeLoras(parts.unet, "unet", [{ file: openLora(path, parts), weight: 1 }]);
        for (const name of source.changed) {
          const values = toFloat32(source.tensors.get(name)!, source.read(name));
          assertEquals([values.length, values.findIndex((value) => Number.isNaN(value))], [
            count(SHAPES.get(name)!),
            -1,
          ]);
        }
        outcomes.merged++;
      } catch (error) {
        if (!(error instanceof ModelFileError)) {
          throw new Error(`File ${seed}: ${JSON.stringify(tensors)}`, { cause: error });
        }
        outcomes.refused++;
      }
    }
  });
  assert(outcomes.merged > COUNT / 20 && outcomes.refused > COUNT / 5, JSON.stringify(outcomes));
});

Deno.test("a file of more bytes than are hashed is refused before any is", async () => {
  const path = await Deno.makeTempFile({ prefix: "denoise-test-" });
  try {
    // Nothing is written: the file is one hole.
    await Deno.truncate(path, LIMITS.hashedBytes + 1);
    const words = `the file has ${LIMITS.hashedBytes + 1} bytes; at most ${LIMITS.hashedBytes} are hashed`;
    assertThrows(() => sha256Of(path), ModelFileError, words);
  } finally {
    await Deno.remove(path);
  }
});
