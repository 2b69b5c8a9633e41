#include "base/shuffle.h"

/* Neighbouring seeds shall have nothing in common (the finalizer of splitmix64). */
uint64_t np_random_begin(uint64_t seed) {
    uint64_t x = seed;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

/* xorshift64*, whose upper half is the better one; never 0 again. */
static uint32_t below(uint64_t *random, uint32_t n) {
    uint64_t x = *random;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *random = x;
    return (uint32_t)((((x * UINT64_C(0x2545f4914f6cdd1d)) >> 32) * n) >> 32);
}

/* Both halves in random order, then one of their interleavings: each node comes from the left with the chance that it is
   one of those, so all interleavings are alike. */
static void shuffle(np_list *list, uint32_t n, uint64_t *random) {
    np_list halves[2], merged;
    uint32_t left[2] = {n / 2, n - n / 2};
    if (n < 2)
        return;
    np_list_init(&halves[0]);
    np_list_init(&halves[1]);
    np_list_init(&merged);
    for (uint32_t i = 0; i < left[0]; i++)
        np_list_append(&halves[0], np_list_pop(list));
    np_list_splice(&halves[1], list);
    shuffle(&halves[0], left[0], random);
    shuffle(&halves[1], left[1], random);
    while (left[0] + left[1] > 0) {
        int from = below(random, left[0] + left[1]) >= left[0];
        np_list_append(&merged, np_list_pop(&halves[from]));
        left[from]--;
    }
    np_list_splice(list, &merged);
}

void np_list_shuffle(np_list *list, uint64_t *random) {
    uint32_t n = 0;
    for (const np_list *at = list->next; at != list; at = at->next)
        n++;
    shuffle(list, n, random);
}
