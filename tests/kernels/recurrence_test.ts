import { assertEquals } from "@std/assert";
import {
  advance,
  recurrence,
  recurrenceNumbers,
  type RecurrenceStep,
  recurrenceTable,
  spreadFactor,
} from "../../kernels/recurrence.ts";
import type { NumberArray } from "../../kernels/reference/array.ts";
import { recurrence as definition } from "../../kernels/reference/recurrence.ts";
import { assertClose, type Bench, EPSILON, highest, random, randomValues, testBackends } from "./harness.ts";

/** `[batch, channels, height, width]` of `x`; two samples are mixed. */
type Shape = readonly [batch: number, channels: number, height: number, width: number];

const SHAPES: readonly Shape[] = [
  [1, 4, 1, 1],
  [2, 4, 1, 1],
  [1, 3, 5, 7],
  [2, 5, 3, 3],
  [2, 8, 4, 9],
  [2, 4, 16, 16], // tiny-sd1.
  [1, 4, 130, 130], // More columns than a texture is wide.
];

const STEPS = 3;

/** What a run has beside its states. */
interface Kind {
  readonly masked?: boolean;
  readonly spread?: boolean;
}

/** Steps of `count` states with coefficients up to 1 and a mix that goes beyond both samples. */
function randomSteps(count: number, { masked = false, spread = false }: Kind): readonly RecurrenceStep[] {
  return Array.from({ length: STEPS }, (_, i) => {
    const [scale, first, second, ...rest] = [...randomValues(20 + i, 3 + count * (count + 2))];
    const transition = Array.from({ length: count }, (_, s) => rest.slice(s * (count + 2), (s + 1) * (count + 2)));
    return {
      scale: scale!,
      mix: 7.5 - i,
      transition,
      ...(masked && { masked: [first!, second!] as const }),
      ...(spread && { spread: [0.7, 1, 0.3][i]! }),
    };
  });
}

/** Runs all steps and compares what each leaves in `out` with the definition. */
async function compare(bench: Bench, [batch, ...size]: Shape, count: number, kind: Kind): Promise<void> {
  const { ops } = bench;
  const { backend, gpu } = ops;
  const steps = randomSteps(count, kind);
  const shape = { count, masked: kind.masked ?? false, spread: kind.spread ?? false };
  const values = (seed: number) => random(seed, 1, ...size);
  const [channels, height, width] = size;
  const matrix = {
    layout: backend.layout(channels, 1, height * width, true),
    rows: channels,
    batch: 1,
    pixels: height * width,
  };
  const encode = ({ values }: NumberArray) => backend.encode(matrix, Float32Array.from(values));
  const buffer = (arrays: readonly NumberArray[], label: string) => {
    const parts = arrays.map(encode);
    const memory = ops.buffer(parts.length * parts[0]!.length, label);
    gpu.write(memory, Float32Array.from(parts.flatMap((part) => [...part])));
    return memory;
  };
  const start = Array.from({ length: count }, (_, i) => values(i));
  // Of both values, and of some between them.
  const mask = values(50);
  const kept = { ...mask, values: mask.values.map((value, i) => i % 5 === 0 ? 0.25 : value > 0 ? 1 : 0) };
  const others = [values(51), values(52)] as const;
  const table = ops.buffer(STEPS * recurrenceNumbers(shape), "table");
  gpu.write(table, recurrenceTable(steps));
  const step = ops.buffer(1, "step", "u32");
  gpu.write(step, new Uint32Array(1));
  const x = ops.keep({ batch, channels, height, width }, "x");
  const out = ops.keep(x, "out");
  const factor = ops.buffer(1, "factor");
  const noise = ops.buffer(encode(start[0]!).length, "noise");
  const spec = {
    x,
    out,
    states: buffer(start, "states"),
    count,
    noise,
    table,
    step,
    ...(shape.masked && { masked: buffer([kept, ...others], "masked") }),
    ...(shape.spread && { factor }),
  };

  let states: readonly Float64Array[] = start.map(({ values }) => values);
  let most = 0;
  for (const [i, { scale, mix, spread, transition, masked: factors }] of steps.entries()) {
    const [input, fresh] = [random(100 + i, batch, ...size), values(200 + i)];
    ops.write(x, Float32Array.from(input.values));
    gpu.write(noise, encode(fresh));
    const got = await bench.run(() => {
      if (shape.spread) ops.launch(spreadFactor(backend, { x, factor, table, step, shape }));
      ops.launch(recurrence(backend, spec), advance(step));
      return out;
    });
    const length = fresh.values.length;
    const samples = Array.from({ length: batch }, (_, b) => input.values.subarray(b * length, (b + 1) * length));
    states = definition({
      states,
      x: samples,
      noise: fresh.values,
      mix,
      ...(spread !== undefined && { spread }),
      transition,
      ...(factors && { masked: { mask: kept.values, values: [others[0].values, others[1].values], factors } }),
    });
    // Each step rounds its coefficients, the mix and sums of count + 2 terms, and passes on the errors of those before.
    most = Math.max(most, 2 * mix + 1, ...states.map((values) => highest({ ...fresh, values })));
    const want = states[0]!.map((value) => scale * value);
    const every = Float64Array.from({ length: batch * length }, (_, at) => want[at % length]!);
    const allowed = (i + 1) * 2 * EPSILON * (count + 4) * (count + 2) * most;
    assertClose(got, { ...input, values: every }, allowed, `step ${i + 1}`);
  }
  assertEquals(new Uint32Array((await gpu.read(step)).buffer)[0], STEPS);
}

testBackends("a recurrence equals its definition, with any number of states", async (bench, t) => {
  for (const count of [1, 2, 3, 4, 5]) {
    for (const masked of [false, true]) {
      await t.step(`${count} states${masked ? ", masked" : ""}`, () => compare(bench, [2, 4, 5, 7], count, { masked }));
    }
  }
});

testBackends("a recurrence runs any shape", async (bench, t) => {
  for (const shape of SHAPES) {
    for (const masked of [false, true]) {
      await t.step(`${shape}${masked ? ", masked" : ""}`, () => compare(bench, shape, 2, { masked }));
    }
  }
});

testBackends("a mix gets the spread of its second sample, as far as is asked", async (bench, t) => {
  for (const shape of [...SHAPES.filter(([batch, , height]) => batch === 2 && height > 1), [2, 4, 64, 72] as const]) {
    for (const masked of [false, true]) {
      await t.step(`${shape}${masked ? ", masked" : ""}`, () => compare(bench, shape, 2, { masked, spread: true }));
    }
  }
});
