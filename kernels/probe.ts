/**
 * Which backend suits an adapter: measured once, never guessed from its name.
 * @module
 */
import type { Gpu } from "./gpu.ts";
import { type Kernel, kernel } from "./kernel.ts";
import { Program } from "./program.ts";
import type { Selection } from "./selection.ts";
import type { BufferLayout, Memory } from "./tensor.ts";
import { textureLayout } from "./texture/layout.ts";

/** Lanes that the texture backend's broadcasts need, whatever the adapter's subgroups hold. */
const LANES = 8;

/** Turns of the measured loop; well above the cost of a launch. */
const TURNS = 64;

const WORKGROUPS = 64;

/** Launches; the fastest counts, since other work on the machine disturbs some. */
const REPETITIONS = 12;

/**
 * Textures are taken when they are this much faster: on real GPUs both read alike, on llvmpipe textures are 2.5 (Mesa
 * 26) to 6 times faster. A CPU gains nothing from workgroup memory: there they need only be faster.
 */
const CLEARLY_FASTER = { gpu: 2, software: 1 };

/** How near to that factor a ratio is too close to call, either way: then there is another look. */
const CLOSE = 1.5;

const MOST_LOOKS = 4;

/** What the times are kept under, among those of operations. */
const KEY = "reading the same values";

function buffer(label: string, elements: number): Memory {
  const layout: BufferLayout = { kind: "buffer", element: "f32", stride: elements, bytes: 4 * elements };
  return { layout, label, kept: true };
}

/** Whether to use the texture backend, and why, in words. */
export interface Verdict {
  readonly textures: boolean;
  readonly why: string;
}

/** Milliseconds of the same reads; null for textures that do not behave as the kernels need. */
export type ProbeTimes = { readonly texture: number | null; readonly buffer: number };

/** Judges times of an adapter, which runs on the CPU or not; `close` where a disturbed measurement could turn it. */
export function judge({ texture, buffer }: ProbeTimes, software: boolean): Verdict & { readonly close: boolean } {
  if (texture === null) {
    return { textures: false, why: "textures or subgroups do not behave as the kernels need", close: false };
  }
  const margin = buffer / texture / CLEARLY_FASTER[software ? "software" : "gpu"];
  const took = `${texture.toFixed(2)} ms from textures, ${buffer.toFixed(2)} ms from buffers`;
  return {
    textures: margin > 1,
    why: `reading the same values takes ${took}`,
    close: margin < CLOSE && margin > 1 / CLOSE,
  };
}

/**
 * Whether the texture backend works here and is much faster than the buffer backend: 8 lanes must be one subgroup,
 * texels outside a texture must read as zero, and handing 8 values to 8 lanes by a texture read and broadcasts must
 * beat doing so by a buffer read and workgroup memory. Takes 30-60 ms the first time; `selection` keeps the times, so
 * that later runs choose the same.
 */
export async function probeTextures(gpu: Gpu, selection?: Selection): Promise<Verdict> {
  const { features } = gpu.device;
  const missing = ["subgroups", "timestamp-query"].filter((name) => !features.has(name as GPUFeatureName));
  if (missing.length > 0) return { textures: false, why: `textures need ${missing.join(" and ")}` };
  const { software } = gpu.adapter;
  const kept = selection?.recall(KEY);
  if (typeof kept?.buffer === "number") {
    return judge({ texture: kept.texture ?? null, buffer: kept.buffer }, software);
  }
  const times = await look(gpu, (times) => judge(times, software).close);
  selection?.keep(KEY, times);
  return judge(times, software);
}

/** The shortest times of one look, or of several while they are `close`. */
async function look(gpu: Gpu, close: (times: ProbeTimes) => boolean): Promise<ProbeTimes> {
  const texture: Memory = { layout: textureLayout(4, 64), label: "probed texture", kept: true };
  const numbers = buffer("probed buffer", 256);
  const out = buffer("probe results", 2 * LANES);
  gpu.write(texture, new Float32Array(256).fill(1));
  gpu.write(numbers, new Float32Array(256).fill(1));
  const launches = [
    { kernel: readKernel("texture"), memory: [texture, out] },
    { kernel: readKernel("buffer"), memory: [numbers, out] },
  ];
  const program = new Program(gpu, Array.from({ length: REPETITIONS }, () => launches).flat());
  try {
    let [textures, buffers] = [Infinity, Infinity];
    for (let looks = 1;; looks++) {
      const times = await program.profile();
      const least = (kind: number) =>
        Math.min(...times.filter((_, i) => i % 2 === kind).map((one) => one.milliseconds));
      [textures, buffers] = [Math.min(textures, least(0)), Math.min(buffers, least(1))];
      const found = { texture: textures, buffer: buffers };
      if (looks < MOST_LOOKS && close(found)) continue;
      // Lane i hands i + 1 to all, 36 a turn; texels outside add 0.
      const right = (await gpu.read(out)).every((value) => value === TURNS * 36);
      return right ? found : { ...found, texture: null };
    }
  } finally {
    program.dispose();
    for (const memory of [texture, numbers, out]) gpu.free(memory);
  }
}

/** Sums 8 values, one read by each lane, in every lane and turn. */
function readKernel(kind: "texture" | "buffer"): Kernel {
  const sum = (value: (lane: number) => string) => Array.from({ length: LANES }, (_, i) => value(i)).join(" + ");
  const turn = kind === "texture"
    ? `let own = textureLoad(x, vec2<i32>((i + l) % 64, 0)).x * f32(l + 1);
    total += ${sum((i) => `subgroupBroadcast(own, ${i}u)`)};
    total += textureLoad(x, vec2<i32>(-1 - i, 0)).x + textureLoad(x, vec2<i32>(l, 1 + i)).x;`
    : `tile[l] = x[(i + l) % 64].x * f32(l + 1);
    workgroupBarrier();
    total += ${sum((i) => `tile[(l + ${i}) % ${LANES}]`)};
    workgroupBarrier();`;
  return kernel({
    name: `probe ${kind}`,
    ports: [
      kind === "texture"
        ? { kind, name: "x", access: "read", format: "rgba32float" }
        : { kind, name: "x", access: "read", element: "vec4<f32>" },
      { kind: "buffer", name: "out", access: "read_write", element: "f32" },
    ],
    sizes: { turns: TURNS, first: kind === "texture" ? 0 : LANES },
    body: `
var<workgroup> tile: array<f32, ${LANES}>;
@compute @workgroup_size(${LANES})
fn main(@builtin(local_invocation_index) lane: u32) {
  let l = i32(lane);
  var total = 0.0;
  for (var i = 0; i < size.turns; i++) {
    ${turn}
  }
  out[size.first + l] = total;
}`,
    workgroups: [WORKGROUPS, 1, 1],
  });
}
