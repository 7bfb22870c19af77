/**
 * A model part in several safetensors files, with an index that says which tensor is where.
 * @module
 */
import { dirname } from "@std/path";
import { ModelFileError } from "./errors.ts";
import { inside, readJson } from "./files.ts";
import { isObject, shown } from "./json.ts";
import { LIMITS } from "./limits.ts";
import { openSafetensors, type SafetensorsOptions } from "./safetensors.ts";
import { lookUp, type TensorInfo, type TensorSource } from "./tensor_source.ts";

/**
 * Opens every file that a `*.safetensors.index.json` names, as one source; they stay open until it is disposed of.
 * @throws {ModelNotFoundError} the index or a file that it names is absent
 * @throws {ModelFileError} a file is damaged, or does not hold exactly what the index says
 */
export function openShards(indexPath: string, options: SafetensorsOptions = {}): TensorSource {
  const { ignore = () => false } = options;
  const shardOf = readIndex(indexPath);
  using stack = new DisposableStack();
  const tensors = new Map<string, TensorInfo>();
  const sources = new Map<string, TensorSource>();
  const shards = new Set(shardOf.values());
  if (shards.size > LIMITS.shards) {
    throw new ModelFileError(indexPath, `the index names ${shards.size} files; at most ${LIMITS.shards} are opened`);
  }
  for (const shard of shards) {
    const path = inside(dirname(indexPath), shard);
    const source = stack.use(openSafetensors(path, options));
    for (const [name, info] of source.tensors) {
      if (shardOf.get(name) !== shard) {
        throw new ModelFileError(path, `tensor ${shown(name)} is not where the index says`);
      }
      tensors.set(name, info);
      sources.set(name, source);
    }
  }
  for (const [name, shard] of shardOf) {
    if (tensors.has(name) || ignore(name)) continue;
    throw new ModelFileError(indexPath, `tensor ${shown(name)} is not in ${shard}`);
  }
  const opened = stack.move();
  return {
    label: indexPath,
    tensors,
    read: (name, options) => lookUp(indexPath, sources, name).read(name, options),
    readAsync: async (name, options) => await lookUp(indexPath, sources, name).readAsync(name, options),
    [Symbol.dispose]: () => opened.dispose(),
  };
}

/** File names by tensor name. */
function readIndex(path: string): ReadonlyMap<string, string> {
  const { weight_map: weightMap } = readJson(path);
  if (!isObject(weightMap)) throw new ModelFileError(path, "the index has no object weight_map");
  return new Map(
    Object.entries(weightMap).map(([name, shard]) => {
      // A plain name: an index cannot reach out of its folder.
      if (typeof shard === "string" && /^\w[\w.-]{0,199}\.safetensors$/.test(shard)) return [name, shard];
      throw new ModelFileError(
        path,
        `the index puts tensor ${shown(name)} in ${shown(shard)}, which is not the name of a safetensors file`,
      );
    }),
  );
}
