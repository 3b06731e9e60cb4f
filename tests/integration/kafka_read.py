"""Reads topics from beginning to end, through librdkafka itself: no Python client is needed.

records(TOPIC) gives what the topic holds at that moment, as Record tuples in order of partition and
offset. A topic that is not there, or a broker that does not answer within 10 s, raises.
"""
import collections
import ctypes
import ctypes.util
import os

Record = collections.namedtuple("Record", "topic partition offset key value headers")

WAIT_MS = 10000
PARTITION_EOF = -191  # RD_KAFKA_RESP_ERR__PARTITION_EOF
CONSUMER = 1


class _Message(ctypes.Structure):
    """rd_kafka_message_t"""
    _fields_ = [("err", ctypes.c_int), ("rkt", ctypes.c_void_p), ("partition", ctypes.c_int32),
                ("payload", ctypes.c_void_p), ("len", ctypes.c_size_t), ("key", ctypes.c_void_p),
                ("key_len", ctypes.c_size_t), ("offset", ctypes.c_int64),
                ("private", ctypes.c_void_p)]


class _MetadataTopic(ctypes.Structure):
    _fields_ = [("topic", ctypes.c_char_p), ("partition_cnt", ctypes.c_int),
                ("partitions", ctypes.c_void_p), ("err", ctypes.c_int)]


class _Metadata(ctypes.Structure):
    _fields_ = [("broker_cnt", ctypes.c_int), ("brokers", ctypes.c_void_p),
                ("topic_cnt", ctypes.c_int), ("topics", ctypes.POINTER(_MetadataTopic)),
                ("orig_broker_id", ctypes.c_int32), ("orig_broker_name", ctypes.c_char_p)]


def _load():
    lib = ctypes.CDLL(ctypes.util.find_library("rdkafka") or "librdkafka.so.1")
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_topic_new",
                 "rd_kafka_topic_partition_list_new", "rd_kafka_topic_partition_list_add"):
        getattr(lib, name).restype = ctypes.c_void_p
    lib.rd_kafka_consumer_poll.restype = ctypes.POINTER(_Message)
    lib.rd_kafka_err2str.restype = ctypes.c_char_p
    return lib


_LIB = _load()


def _check(code, what):
    if code != 0:
        raise RuntimeError(f"{what}: {_LIB.rd_kafka_err2str(code).decode()}")


def _consumer(group="tests"):
    conf = ctypes.c_void_p(_LIB.rd_kafka_conf_new())
    why = ctypes.create_string_buffer(256)
    settings = {"bootstrap.servers": os.environ["KAFKA_BOOTSTRAP_SERVERS"], "group.id": group,
                "enable.auto.commit": "false", "enable.partition.eof": "true", "log_level": "0"}
    for name, value in settings.items():
        if _LIB.rd_kafka_conf_set(conf, name.encode(), value.encode(), why, 256) != 0:
            raise RuntimeError(why.value.decode())
    handle = _LIB.rd_kafka_new(CONSUMER, conf, why, 256)
    if not handle:
        raise RuntimeError(why.value.decode())
    return ctypes.c_void_p(handle)


def _partitions(consumer, topic):
    handle = ctypes.c_void_p(_LIB.rd_kafka_topic_new(consumer, topic.encode(), None))
    metadata = ctypes.POINTER(_Metadata)()
    code = _LIB.rd_kafka_metadata(consumer, 0, handle, ctypes.byref(metadata), WAIT_MS)
    _LIB.rd_kafka_topic_destroy(handle)
    _check(code, topic)
    found = metadata.contents.topics[0]
    count, code = found.partition_cnt, found.err
    _LIB.rd_kafka_metadata_destroy(metadata)
    _check(code, topic)
    return count


def _watermarks(consumer, topic, partition):
    low, high = ctypes.c_int64(), ctypes.c_int64()
    _check(_LIB.rd_kafka_query_watermark_offsets(consumer, topic.encode(), partition,
                                                 ctypes.byref(low), ctypes.byref(high), WAIT_MS),
           topic)
    return low.value, high.value


def _headers(message):
    headers = ctypes.c_void_p()
    if _LIB.rd_kafka_message_headers(message, ctypes.byref(headers)) != 0:
        return {}
    found, i = {}, 0
    name, value, size = ctypes.c_char_p(), ctypes.c_void_p(), ctypes.c_size_t()
    while _LIB.rd_kafka_header_get_all(headers, ctypes.c_size_t(i), ctypes.byref(name),
                                       ctypes.byref(value), ctypes.byref(size)) == 0:
        found[name.value.decode()] = ctypes.string_at(value.value or 0, size.value)
        i += 1
    return found


def _assign(consumer, topic, partition, offset):
    parts = ctypes.c_void_p(_LIB.rd_kafka_topic_partition_list_new(1))
    _LIB.rd_kafka_topic_partition_list_add(parts, topic.encode(), partition)
    _LIB.rd_kafka_topic_partition_list_set_offset(parts, topic.encode(), partition,
                                                  ctypes.c_int64(offset))
    code = _LIB.rd_kafka_assign(consumer, parts)
    _LIB.rd_kafka_topic_partition_list_destroy(parts)
    _check(code, topic)


def _read_partition(consumer, topic, partition):
    low, high = _watermarks(consumer, topic, partition)
    if low >= high:
        return
    _assign(consumer, topic, partition, low)
    following = low
    while following < high:
        message = _LIB.rd_kafka_consumer_poll(consumer, WAIT_MS)
        if not message:
            raise RuntimeError(f"{topic}: no record for 10 s")
        try:
            m = message.contents
            if m.err == PARTITION_EOF:
                return
            _check(m.err, topic)
            following = m.offset + 1
            yield Record(topic, partition, m.offset, ctypes.string_at(m.key or 0, m.key_len),
                         ctypes.string_at(m.payload or 0, m.len), _headers(message))
        finally:
            _LIB.rd_kafka_message_destroy(message)


def count(topic):
    """How many offsets lie between the ends of the topic's partitions."""
    consumer = _consumer()
    try:
        ends = [_watermarks(consumer, topic, p) for p in range(_partitions(consumer, topic))]
        return sum(high - low for low, high in ends)
    finally:
        _LIB.rd_kafka_consumer_close(consumer)
        _LIB.rd_kafka_destroy(consumer)


def records(topic):
    consumer = _consumer()
    try:
        return [record for partition in range(_partitions(consumer, topic))
                for record in _read_partition(consumer, topic, partition)]
    finally:
        _LIB.rd_kafka_consumer_close(consumer)
        _LIB.rd_kafka_destroy(consumer)
