/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* A row's number stays while anything may name it, and is used again afterwards. */
#include "volume/table.h"
#include "tap.h"

static struct segment segment_of(uint64_t seq, uint32_t n_data) {
    return (struct segment
    ){.id = {seq, 1, 2}, .type = SEGMENT_DATA, .n_data = n_data, .header_len = 4096};
}

static void test_rows(void) {
    struct table table = {0};
    struct segment segment;
    unsigned wrong = 0;

    for (uint32_t i = 0; i < 1000; i++) {
        segment = segment_of(i + 1, 4);
        wrong += table_add_segment(&table, &segment) != (int64_t)i;
    }
    is_int(wrong, 0, "rows are numbered as they come");
    is_int(table.rows[7].live, 4, "all of a new segment lives");
    table_displace(&table, 7, 3, 1001);
    is_int((long long)table.rows[7].died_seq, 0, "while one block does, it has not died");
    table_displace(&table, 7, 1, 1002);
    is_int((long long)table.rows[7].died_seq, 1002, "with the last it has");
    table_remove(&table, 7);
    table_displace(&table, 3, 4, 1003);
    table_remove(&table, 3);
    is_int(table_add_segment(&table, &segment), 3, "a removed row is used again, the first first");
    is_int(table_add_segment(&table, &segment), 7, "then the next");
    is_int(table_add_segment(&table, &segment), 1000, "and then new ones");
    table_clear(&table);
}

static void test_empty(void) {
    struct table table = {0};
    struct segment segment = segment_of(5, 0);
    struct map_id id = {{6, 1, 2}, 1};
    char name[OBJECT_NAME];

    table_add_segment(&table, &segment);
    is_int((long long)table.rows[0].died_seq, 5, "a segment without data is dead at once");
    table_add_map(&table, &id);
    is_int((long long)table.rows[1].died_seq, 6, "as is a MAP object without pages");
    table_name(name, &table.rows[0]);
    is_str(name, "log/0000000000000005-00000001-00000002", "a segment's name");
    table_name(name, &table.rows[1]);
    is_str(name, "map/0000000000000006-00000001-00000002-0001", "and a MAP object's");
    table_clear(&table);
}

int main(void) {
    test_rows();
    test_empty();
    return done_testing();
}
