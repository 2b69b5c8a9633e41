/* The code table: names, words and sentences. */
#include <string.h>

#include "support.h"

static const struct {
    int32_t code;
    const char *name;
} own[] = {
    {NEAP_PENDING, "PENDING"},
    {NEAP_ECLOSED, "ECLOSED"},
    {NEAP_ELOOP_CLOSED, "ELOOP_CLOSED"},
    {NEAP_EWRONGTHREAD, "EWRONGTHREAD"},
    {NEAP_EREENTRANT, "EREENTRANT"},
    {NEAP_EFORKED, "EFORKED"},
    {NEAP_ELOOP_RUNNING, "ELOOP_RUNNING"},
    {NEAP_EOTHER_LOOP_RUNNING, "EOTHER_LOOP_RUNNING"},
    {NEAP_ESTOPPED_EARLY, "ESTOPPED_EARLY"},
    {NEAP_EDEADLOCK, "EDEADLOCK"},
    {NEAP_EPENDING, "EPENDING"},
    {NEAP_EINVALID_STATE, "EINVALID_STATE"},
    {NEAP_ETYPE, "ETYPE"},
    {NEAP_EVALUE, "EVALUE"},
    {NEAP_ETIMEOUT, "ETIMEOUT"},
    {NEAP_ETASK_OWNED, "ETASK_OWNED"},
    {NEAP_EOTHER_LOOP, "EOTHER_LOOP"},
    {NEAP_EAWAIT_SELF, "EAWAIT_SELF"},
    {NEAP_EAWAIT_NOT_DONE, "EAWAIT_NOT_DONE"},
    {NEAP_EBAD_YIELD, "EBAD_YIELD"},
    {NEAP_EBUSY_FD, "EBUSY_FD"},
    {NEAP_ENO_LOOP, "ENO_LOOP"},
    {NEAP_ENO_TASK, "ENO_TASK"},
    {NEAP_EALREADY_OWNED, "EALREADY_OWNED"},
    {NEAP_EFOREIGN, "EFOREIGN"},
    {NEAP_EGROUP, "EGROUP"},
    {NEAP_ENAME, "ENAME"},
    {NEAP_ENO_YIELD, "ENO_YIELD"},
    {NEAP_ECORRUPT, "ECORRUPT"},
    {NEAP_EINCOMPLETE, "EINCOMPLETE"},
    {NEAP_ELIMIT, "ELIMIT"},
};

static const struct {
    int32_t code;
    const char *name;
} systems[] = {
    {NEAP_EPERM, "EPERM"},
    {NEAP_ENOENT, "ENOENT"},
    {NEAP_EINTR, "EINTR"},
    {NEAP_E2BIG, "E2BIG"},
    {NEAP_EBADF, "EBADF"},
    {NEAP_EAGAIN, "EAGAIN"},
    {NEAP_ENOMEM, "ENOMEM"},
    {NEAP_EACCES, "EACCES"},
    {NEAP_EBUSY, "EBUSY"},
    {NEAP_EEXIST, "EEXIST"},
    {NEAP_EINVAL, "EINVAL"},
    {NEAP_EMFILE, "EMFILE"},
    {NEAP_EPIPE, "EPIPE"},
    {NEAP_ERANGE, "ERANGE"},
    {NEAP_EMSGSIZE, "EMSGSIZE"},
    {NEAP_EADDRINUSE, "EADDRINUSE"},
    {NEAP_EADDRNOTAVAIL, "EADDRNOTAVAIL"},
    {NEAP_ECONNABORTED, "ECONNABORTED"},
    {NEAP_ECONNRESET, "ECONNRESET"},
    {NEAP_EISCONN, "EISCONN"},
    {NEAP_ENOTCONN, "ENOTCONN"},
    {NEAP_ECONNREFUSED, "ECONNREFUSED"},
    /* These too, though programs seldom compare with them. */
    {-101, "ENETUNREACH"},
    {-110, "ETIMEDOUT"},
    {-113, "EHOSTUNREACH"},
};

enum {
    N_OWN = sizeof own / sizeof own[0],
    N_SYSTEMS = sizeof systems / sizeof systems[0]
};

static void every_code_has_its_c_name(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OWN; i++)
        assert_string_equal(neap_err_name(own[i].code), own[i].name);
    for (size_t i = 0; i < N_SYSTEMS; i++)
        assert_string_equal(neap_err_name(systems[i].code), systems[i].name);
}

static void words_of_the_system_are_its_names_and_ours_are_lower_case(void **state) {
    (void)state;
    for (size_t i = 0; i < N_SYSTEMS; i++)
        assert_string_equal(neap_err_word(systems[i].code), systems[i].name);
    for (size_t i = 0; i < N_OWN; i++) {
        const char *word = neap_err_word(own[i].code);
        assert_true(strlen(word) > 0);
        for (const char *p = word; *p != '\0'; p++)
            assert_true((*p >= 'a' && *p <= 'z') || *p == '_');
    }
    assert_string_equal(neap_err_word(NEAP_ETIMEOUT), "timeout");
    assert_string_equal(neap_err_word(NEAP_ECLOSED), "closed");
    assert_string_equal(neap_err_word(NEAP_ECANCELED), "cancelled");
    assert_string_equal(neap_err_word(NEAP_EBAD_YIELD), "bad_yield");
    assert_string_equal(neap_err_word(NEAP_EINVALID_STATE), "invalid_state");
    assert_string_equal(neap_err_word(NEAP_EWRONGTHREAD), "wrong_thread");
    assert_string_equal(neap_err_word(NEAP_ELOOP_CLOSED), "loop_closed");
    assert_string_equal(neap_err_word(NEAP_ESTOPPED_EARLY), "stopped_early");
    assert_string_equal(neap_err_word(NEAP_ETASK_OWNED), "task_owned");
    assert_string_equal(neap_err_word(NEAP_EOTHER_LOOP), "other_loop");
    assert_string_equal(neap_err_word(NEAP_EAWAIT_SELF), "await_self");
    assert_string_equal(neap_err_word(NEAP_EBUSY_FD), "busy_fd");
    assert_string_equal(neap_err_word(NEAP_EDEADLOCK), "deadlock");
}

static void no_two_codes_share_a_name_a_word_or_a_sentence(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OWN; i++)
        for (size_t k = 0; k < i; k++) {
            assert_string_not_equal(neap_err_name(own[i].code), neap_err_name(own[k].code));
            /* NEAP_PENDING is no failure and never shows as a word. */
            if (own[k].code != NEAP_PENDING)
                assert_string_not_equal(neap_err_word(own[i].code), neap_err_word(own[k].code));
            assert_string_not_equal(neap_strerror(own[i].code), neap_strerror(own[k].code));
        }
}

static void every_number_has_some_text(void **state) {
    (void)state;
    for (int32_t code = -5000; code <= 10; code++) {
        assert_non_null(neap_strerror(code));
        assert_true(strlen(neap_strerror(code)) > 0);
        assert_non_null(neap_err_name(code));
        assert_non_null(neap_err_word(code));
    }
    assert_non_null(neap_strerror(INT32_MIN));
    assert_non_null(neap_err_name(INT32_MIN));
    assert_non_null(neap_err_word(INT32_MAX));
}

static void texts_are_static(void **state) {
    (void)state;
    for (size_t i = 0; i < N_OWN; i++) {
        assert_ptr_equal(neap_strerror(own[i].code), neap_strerror(own[i].code));
        assert_ptr_equal(neap_err_name(own[i].code), neap_err_name(own[i].code));
    }
}

NT_MAIN(NT_TEST_BARE(every_code_has_its_c_name),
        NT_TEST_BARE(words_of_the_system_are_its_names_and_ours_are_lower_case),
        NT_TEST_BARE(no_two_codes_share_a_name_a_word_or_a_sentence),
        NT_TEST_BARE(every_number_has_some_text), NT_TEST_BARE(texts_are_static))
