import pytest

from keras_cvx.datasets.parsing.xml_files import xml_root

pytestmark = pytest.mark.host

TEXT = "<a><b>木 ü</b></a>"


def root_of(tmp_path, content):
    path = tmp_path / "a.xml"
    path.write_bytes(content)
    return xml_root(path)


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", "木 ü"),
        ("utf-16", "木 ü"),
        ("iso-8859-1", "ü"),
        ("windows-1252", "ü €"),
        ("gb2312", "木"),
        ("GBK", "木"),
        ("Shift_JIS", "木"),
        ("euc-kr", "木"),
        ("Big5", "木"),
    ],
)
def test_encodings_that_are_declared(tmp_path, encoding, text):
    document = f'<?xml version="1.0" encoding="{encoding}"?>\r\n<a><b>{text}</b></a>'
    assert root_of(tmp_path, document.encode(encoding)).find("b").text == text


def test_no_declaration_and_a_byte_order_mark(tmp_path):
    for content in (TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16")):
        assert root_of(tmp_path, content).find("b").text == "木 ü"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no",
        TEXT.encode()[:-1],
        TEXT.encode("gbk"),
        b"<a>" * 100_000,
        b'<?xml version="1.0" encoding="utf-99"?><a/>',
        b'<?xml version="1.0" encoding="utf-16"?><a/>',
        b'<?xml version="1.0" encoding="gbk"?><a>\xff\xff</a>',
    ],
)
def test_what_is_no_whole_file(tmp_path, content):
    with pytest.raises(ValueError, match=r"^it must be a whole XML file. It cannot be read: "):
        root_of(tmp_path, content)


@pytest.mark.parametrize(
    "head",
    [
        '<!DOCTYPE a SYSTEM "file:///etc/passwd">',
        '<!DOCTYPE a [<!ENTITY b "bbbb">]>',
        '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    ],
)
def test_entities_and_document_types_are_refused(tmp_path, head):
    with pytest.raises(ValueError, match=r"without a document type and without entities"):
        root_of(tmp_path, f"{head}<a>b</a>".encode())
    # Nor where the text is decoded first.
    document = f'<?xml version="1.0" encoding="gbk"?>{head}<a>木</a>'
    with pytest.raises(ValueError, match=r"without a document type and without entities"):
        root_of(tmp_path, document.encode("gbk"))


def test_no_file(tmp_path):
    for path in (tmp_path / "no.xml", tmp_path):
        with pytest.raises(ValueError, match=r"^it must be a file that can be read"):
            xml_root(path)
