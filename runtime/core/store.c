/* store.c: items in the order in which they came, or by priority. */
#include "core/store.h"

enum {
    ROOM_MIN = 4
};

void np_store_init(np_store *s, np_alloc *alloc, size_t capacity, bool ordered) {
    *s = (np_store){.alloc = alloc, .capacity = capacity, .ordered = ordered};
}

static np_item *at(const np_store *s, size_t n) {
    size_t index = s->first + n;
    return &s->items[index < s->room ? index : index - s->room];
}

static bool grow(np_store *s) {
    size_t room = s->room == 0 ? ROOM_MIN : 2 * s->room;
    if (room > s->capacity)
        room = s->capacity;
    np_item *items =
        room > SIZE_MAX / sizeof *items ? NULL : np_alloc_get(s->alloc, room * sizeof *items);
    if (items == NULL)
        return false;
    for (size_t i = 0; i < s->len; i++)
        items[i] = *at(s, i);
    np_alloc_put(s->alloc, s->items, s->room * sizeof *s->items);
    s->items = items;
    s->room = room;
    s->first = 0;
    return true;
}

/* ---- The heap: no item comes before the one at half its index */

static bool comes_before(const np_item *a, const np_item *b) {
    return a->priority != b->priority ? a->priority < b->priority : a->turn < b->turn;
}

/* The place at `n` is free; what stands above it and comes later than the item moves down. */
static void sift_up(np_store *s, size_t n, const np_item *item) {
    for (; n > 0 && comes_before(item, &s->items[(n - 1) / 2]); n = (n - 1) / 2)
        s->items[n] = s->items[(n - 1) / 2];
    s->items[n] = *item;
}

/* The first place is free; what comes before the item moves up. */
static void sift_down(np_store *s, const np_item *item) {
    size_t n = 0;
    for (size_t child; (child = 2 * n + 1) < s->len; n = child) {
        if (child + 1 < s->len && comes_before(&s->items[child + 1], &s->items[child]))
            child++;
        if (!comes_before(&s->items[child], item))
            break;
        s->items[n] = s->items[child];
    }
    s->items[n] = *item;
}

/* ---- Both */

int32_t np_store_put(np_store *s, const np_item *item) {
    if (s->len == s->room && !grow(s))
        return NEAP_ENOMEM;
    np_item kept = *item;
    kept.turn = s->turns++;
    s->len++;
    if (s->ordered)
        sift_up(s, s->len - 1, &kept);
    else
        *at(s, s->len - 1) = kept;
    return 0;
}

np_item np_store_take(np_store *s) {
    np_item item = *at(s, 0);
    s->len--;
    if (!s->ordered) {
        s->first = s->first + 1 < s->room ? s->first + 1 : 0;
    } else if (s->len > 0) {
        np_item last = s->items[s->len];
        sift_down(s, &last);
    }
    return item;
}

void np_store_fini(np_store *s) {
    while (s->len > 0) {
        np_item item = np_store_take(s);
        np_item_drop(&item);
    }
    np_alloc_put(s->alloc, s->items, s->room * sizeof *s->items);
    s->items = NULL;
}
