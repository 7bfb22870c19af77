/**
 * Inpainting models of Stable Diffusion 1.x and 2.x: the UNet reads the mask and the latent of what is kept beside the
 * sample, 9 channels in all.
 * @module
 */
import { readVaeConfig } from "../nets/config.ts";
import { RequestError } from "../request.ts";
import type { Family, Net } from "./family.ts";
import { checkRequest, readNet, repeat, stableDiffusion } from "./stable_diffusion.ts";

export const inpainting: Family = stableDiffusion({
  name: "inpainting",
  paints: true,
  matches: ({ unet }) => unet.in_channels === 9,
  check(request, config) {
    checkRequest(request, config);
    if (request.init?.mask) return;
    throw new RequestError("init", "this model paints into a picture: it needs an init image and a mask");
  },
  read(parameters, config) {
    const kept = 1 + readVaeConfig(config.vae).latentChannels;
    return withKept(readNet(parameters, config, kept), kept);
  },
});

/** The net with `channels` more, which are the same in all samples and steps. */
function withKept(net: Net, channels: number): Net {
  return {
    async condition(ops, run, step, controls) {
      const { samples: batch, height, width } = run;
      const conditions = await net.condition(ops, run, step, controls);
      const kept = ops.keep({ batch, channels, height, width }, "mask and kept picture");
      return {
        ...conditions,
        async prepare(inputs, enter) {
          ops.write(kept, repeat(inputs.kept!, batch));
          await conditions.prepare(inputs, enter);
        },
        predict: (x, controls) => conditions.predict(ops.concat(x, kept), controls),
        dispose() {
          conditions.dispose();
          ops.gpu.free(kept.memory);
        },
      };
    },
  };
}
