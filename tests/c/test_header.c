/* What neap.h promises by itself: numbers, layouts, versions. */
#include <errno.h>
#include <string.h>

#include "support.h"

static void version_is_packed_in_one_number(void **state) {
    (void)state;
    int32_t version = neap_version();
    assert_true(version >= 100);
    assert_true(version / 10000 == 0);
}

static void known_features_are_named_and_others_are_not(void **state) {
    (void)state;
    assert_int_equal(neap_has("poll"), 1);
    assert_int_equal(neap_has("epoll"), 1);
    assert_int_equal(neap_has("telepathy"), 0);
    assert_int_equal(neap_has(""), 0);
}

static void codes_of_the_system_are_its_own_negated(void **state) {
    (void)state;
    assert_int_equal(NEAP_EPERM, -EPERM);
    assert_int_equal(NEAP_ENOENT, -ENOENT);
    assert_int_equal(NEAP_EINTR, -EINTR);
    assert_int_equal(NEAP_E2BIG, -E2BIG);
    assert_int_equal(NEAP_EBADF, -EBADF);
    assert_int_equal(NEAP_EAGAIN, -EAGAIN);
    assert_int_equal(NEAP_ENOMEM, -ENOMEM);
    assert_int_equal(NEAP_EACCES, -EACCES);
    assert_int_equal(NEAP_EBUSY, -EBUSY);
    assert_int_equal(NEAP_EEXIST, -EEXIST);
    assert_int_equal(NEAP_EINVAL, -EINVAL);
    assert_int_equal(NEAP_EMFILE, -EMFILE);
    assert_int_equal(NEAP_EPIPE, -EPIPE);
    assert_int_equal(NEAP_ERANGE, -ERANGE);
    assert_int_equal(NEAP_EMSGSIZE, -EMSGSIZE);
    assert_int_equal(NEAP_ENOTSUP, -ENOTSUP);
    assert_int_equal(NEAP_EADDRINUSE, -EADDRINUSE);
    assert_int_equal(NEAP_EADDRNOTAVAIL, -EADDRNOTAVAIL);
    assert_int_equal(NEAP_ECONNABORTED, -ECONNABORTED);
    assert_int_equal(NEAP_ECONNRESET, -ECONNRESET);
    assert_int_equal(NEAP_EISCONN, -EISCONN);
    assert_int_equal(NEAP_ENOTCONN, -ENOTCONN);
    assert_int_equal(NEAP_ECONNREFUSED, -ECONNREFUSED);
    assert_int_equal(NEAP_ECANCELED, -ECANCELED);
}

static void frozen_structs_keep_their_layout(void **state) {
    (void)state;
    assert_int_equal(sizeof(neap_addr), 136);
    assert_int_equal(offsetof(neap_addr, data), 8);
    assert_int_equal(sizeof(neap_completion), 16 + sizeof(void *));
    assert_int_equal(offsetof(neap_completion, cookie), 8);
    assert_int_equal(offsetof(neap_allocator, size), 0);
    assert_int_equal(offsetof(neap_loop_options, size), 0);
    assert_int_equal(offsetof(neap_task_ops, size), 0);
    assert_int_equal(offsetof(neap_task_options, size), 0);
    assert_int_equal(offsetof(neap_report, size), 0);
    assert_int_equal(offsetof(neap_trace, size), 0);
    assert_int_equal(offsetof(neap_metrics, size), 0);
}

NT_MAIN(NT_TEST_BARE(version_is_packed_in_one_number),
        NT_TEST_BARE(known_features_are_named_and_others_are_not),
        NT_TEST_BARE(codes_of_the_system_are_its_own_negated),
        NT_TEST_BARE(frozen_structs_keep_their_layout))
