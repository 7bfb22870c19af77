/**
 * The limits of what strangers may ask for, without loading a {@link Pipeline}.
 * @module
 */
export { LIMITS } from "../weights/limits.ts";
