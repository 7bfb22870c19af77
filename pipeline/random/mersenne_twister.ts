/**
 * MT19937: Matsumoto and Nishimura, "Mersenne Twister: a 623-dimensionally equidistributed uniform pseudo-random
 * number generator", 1998.
 * @module
 */

const WORDS = 624;
const MIDDLE = 397;

/** A generator of uniform 32-bit words; each call draws the next one, 0 to 2^32 - 1. */
export type WordSource = () => number;

/** MT19937 seeded as torch seeds its CPU generator: with the low 32 bits of `seed`. */
export function createMersenneTwister(seed: bigint): WordSource {
  const state = new Uint32Array(WORDS);
  state[0] = Number(BigInt.asUintN(32, seed));
  for (let i = 1; i < WORDS; i++) {
    const previous = state[i - 1]!;
    state[i] = Math.imul(1812433253, previous ^ (previous >>> 30)) + i;
  }
  let next = WORDS;
  return () => {
    if (next === WORDS) {
      twist(state);
      next = 0;
    }
    return temper(state[next++]!);
  };
}

function twist(state: Uint32Array): void {
  for (let i = 0; i < WORDS; i++) {
    const joined = (state[i]! & 0x80000000) | (state[(i + 1) % WORDS]! & 0x7fffffff);
    const feedback = joined & 1 ? 0x9908b0df : 0;
    state[i] = state[(i + MIDDLE) % WORDS]! ^ (joined >>> 1) ^ feedback;
  }
}

function temper(word: number): number {
  word ^= word >>> 11;
  word ^= (word << 7) & 0x9d2c5680;
  word ^= (word << 15) & 0xefc60000;
  word ^= word >>> 18;
  return word >>> 0;
}
