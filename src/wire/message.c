#include "wire/message.h"

#include "base/varint.h"

void message_put(struct buffer *out, const struct message *message)
{
    uint8_t *start = buffer_reserve(out, message_bytes(message));
    start[0] = (uint8_t)message->kind;
    put_u16(start + 1, message->class);
    uint8_t *at = varint_put(varint_put(start + 3, message->subject.size), message->body.size);
    if (message->subject.size != 0) {
        memcpy(at, message->subject.data, message->subject.size);
    }
    at += message->subject.size;
    if (message->body.size != 0) {
        memcpy(at, message->body.data, message->body.size);
    }
    out->size += (size_t)(at - start) + message->body.size;
}

static bool is_one_class(uint16_t class) { return class != 0 && (class & (class - 1)) == 0 && class <= EVENT_CLASSES; }

bool message_take(struct slice *from, struct message *ret_message)
{
    if (from->size < 3 || from->data[0] >= MESSAGE_KINDS) {
        return false;
    }
    struct message message = {.kind = (enum message_kind)from->data[0], .class = get_u16(from->data + 1)};
    if (message.kind == MESSAGE_EVENT ? !is_one_class(message.class) : message.class != 0) {
        return false;
    }
    struct slice rest = slice_of(from->data + 3, from->size - 3);
    uint64_t subject = 0;
    uint64_t body = 0;
    if (!varint_take(&rest, &subject) || !varint_take(&rest, &body) || subject > rest.size ||
        body > rest.size - subject) {
        return false;
    }
    message.subject = slice_of(rest.data, (size_t)subject);
    message.body = slice_of(rest.data + subject, (size_t)body);
    *from = slice_of(rest.data + subject + body, rest.size - (size_t)(subject + body));
    *ret_message = message;
    return true;
}
