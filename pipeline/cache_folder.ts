/**
 * The cache folder, without loading a {@link Pipeline}.
 * @module
 */
export { cacheFolder, type ReadVariable } from "../weights/cache_folder.ts";
