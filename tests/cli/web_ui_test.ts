import { assertEquals } from "@std/assert";
import { parseInfotext } from "../../cli/infotext.ts";
import { readForeign } from "../../cli/web_ui.ts";
import { nearestName } from "../../pipeline/schedulers/mod.ts";

Deno.test("a model's own configuration has the name of its class and variant", () => {
  for (
    const [config, expected] of [
      [{ _class_name: "PNDMScheduler", steps_offset: 1 }, "pndm"],
      [{ _class_name: "DDIMScheduler", steps_offset: 1, set_alpha_to_one: false, clip_sample: false }, "ddim"],
      [{ _class_name: "DDIMScheduler", timestep_spacing: "trailing", clip_sample: false }, "ddim-trailing"],
      [{ _class_name: "EulerDiscreteScheduler", use_karras_sigmas: true }, "euler-karras"],
      [{ _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading" }, "euler"],
      [{ _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++" }, "dpmpp-2m-sde"],
    ] as const
  ) {
    assertEquals(nearestName(config), expected);
  }
});

Deno.test("what another tool's picture was made with, as far as it can be made again", () => {
  const recipe = readForeign(parseInfotext(
    "a (cat:1.2)\nNegative prompt: dog\nSteps: 30, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 6.5, " +
      "Seed: 18446744073709551615, Size: 512x768, Model hash: 45dee52b, Model: mine, Hires upscale: 2, Version: v1.10.1",
  ));
  assertEquals(recipe, {
    prompt: "a (cat:1.2)",
    options: {
      "negative-prompt": "dog",
      "prompt-syntax": "a1111",
      "long-prompt": "chunk",
      "clip-skip": "1",
      "steps": "30",
      "guidance": "6.5",
      "seed": "18446744073709551615",
      "width": "512",
      "height": "768",
      "rng": "cuda",
    },
    software: "v1.10.1",
    lost: ["Sampler: DPM++ SDE, Schedule type: Karras", "Model: mine (--model says where it lies)", "Hires upscale: 2"],
  });
  const old = readForeign(parseInfotext("x\nSteps: 1, Seed: 1, Sampler: DPM++ 2M, CFG scale: 7"));
  assertEquals(old.options.scheduler, "dpmpp-2m");
  const eta = readForeign(
    parseInfotext("x\nSteps: 1, Seed: 1, Sampler: DDIM, Schedule type: Automatic, Eta DDIM: 0.5"),
  );
  assertEquals([eta.options.scheduler, eta.options.eta], ["ddim", "0.5"]);
  const rng = (name: string) => readForeign(parseInfotext(`x\nSteps: 1, Seed: 1, RNG: ${name}`)).options.rng;
  assertEquals(["CPU", "NV", "GPU", "cuda", "cpu"].map(rng), ["cpu", "cuda", "cuda", "cuda", "cpu"]);
  assertEquals(readForeign(parseInfotext("x\nSteps: 1, Seed: 1, RNG: std_default")).lost, ["RNG: std_default"]);
});
