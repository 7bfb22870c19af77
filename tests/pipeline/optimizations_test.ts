import { assert, assertEquals } from "@std/assert";
import type { Backend } from "../../kernels/backend.ts";
import { Gpu } from "../../kernels/mod.ts";
import { AUTO, BASELINE, OPTIMIZATIONS, type Optimizations, PAPER } from "../../kernels/optimizations.ts";
import { Ops } from "../../kernels/ops.ts";
import { readUnetConfig } from "../../pipeline/nets/config.ts";
import { Parameters } from "../../pipeline/nets/parameters.ts";
import { readUnet } from "../../pipeline/nets/unet.ts";
import { BACKENDS } from "../kernels/harness.ts";
import { openTinyModel } from "../tiny_model.ts";
import { assertStage, readStages, recordTinyUnet } from "./stages.ts";

/** Every preset; every optimization alone, on all shapes that it can run; and all of them so. */
const CASES: readonly (readonly [name: string, on: Optimizations])[] = [
  ["baseline", BASELINE],
  ...OPTIMIZATIONS.map((name) => [name, { ...BASELINE, shapes: "all", [name]: true }] as const),
  ["everything", { ...AUTO, shapes: "all" }],
  ["paper", PAPER],
  ["auto", AUTO],
];

async function testBackend(t: Deno.TestContext, gpu: Gpu, backend: Backend): Promise<void> {
  const golden = readStages();
  using model = openTinyModel();
  const parameters = new Parameters(new Ops(gpu, backend), model.parts.unet);
  const weights = readUnet(parameters, readUnetConfig(model.config.unet));
  await parameters.load();
  const seen = new Map<string, readonly string[]>();
  for (const [name, on] of CASES) {
    await t.step(`${backend.name}: ${name}`, async () => {
      const ops = new Ops(gpu, backend, { optimizations: on });
      const { program, out } = recordTinyUnet(ops, weights, { golden, timestep: 981 });
      program.run();
      assertStage(name, await ops.read(out), golden.get("unet.out.t981")!.data);
      const kernels = (await program.profile()).flatMap(({ work }) => work?.kernels ?? []);
      seen.set(name, [...new Set(kernels)]);
      program.dispose();
    });
  }
  const common = ["product", "direct", "one shader"];
  const baseline = ["separate GEGLU", "separate launches", "stored softmax"];
  const instead: Readonly<Record<string, readonly [without: string, by: string]>> = {
    softmax: ["stored softmax", "partially fused softmax"],
    normalization: ["separate launches", "one shader"],
    gelu: ["separate GEGLU", "fused GEGLU"],
    flash: ["stored softmax", "flash"],
    winograd: ["", "Winograd"],
  };
  assertEquals(seen.get("baseline")!.toSorted(), [...common, ...baseline].toSorted());
  // Neither of these backends has matrices.
  assertEquals(seen.get("matrices"), seen.get("baseline"));
  for (const name of OPTIMIZATIONS.filter((name) => name !== "matrices")) {
    const [without, by] = instead[name]!;
    const got = new Set(seen.get(name)!);
    // What flash attention replaces stays for heads of widths that a backend cannot hold.
    if (name === "flash") got.delete(without);
    const want = new Set([...common, ...baseline.filter((kernels) => kernels !== without), by]);
    assertEquals([...got].toSorted(), [...want].toSorted(), name);
  }
  assert(!["paper", "auto"].some((name) => seen.get(name)!.some((kernels) => baseline.slice(0, 2).includes(kernels))));
}

for (const backend of BACKENDS) {
  Deno.test(`${backend.name}: every choice of kernels gives PyTorch's UNet`, async (t) => {
    await using gpu = await Gpu.open();
    await testBackend(t, gpu, backend);
    await gpu.finish();
  });
}
