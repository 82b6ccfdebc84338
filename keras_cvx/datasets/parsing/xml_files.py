"""XML files that strangers wrote."""

import codecs
import re

# Encodings of several bytes a character, which Python's parser leaves out; other ones it knows.
_WIDE = (
    "big5", "cp932", "cp949", "cp950", "euc_jp", "euc_kr", "gb18030", "gb2312", "gbk", "shift_jis",
)  # fmt: skip
_ENCODING = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z][\w.-]*)[\"']")


def xml_root(path):
    """The outermost element of an XML file, in the encoding that it declares.

    Args:
        path: `pathlib.Path`.

    Returns:
        `xml.etree.ElementTree.Element`.

    Raises:
        ValueError: If the file cannot be read, is no whole XML, or declares a document type or
            entities, which could read other files or grow without end.
        ImportError: If defusedxml is missing.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise ImportError(
            "Reading XML files needs defusedxml. Install it with `pip install keras-cvx[datasets]`."
        ) from error
    try:
        return fromstring(_decoded(path.read_bytes()), forbid_dtd=True)
    except OSError as error:
        raise ValueError(f"it must be a file that can be read. ({error})") from error
    except DefusedXmlException as error:
        raise ValueError(
            "it must be XML without a document type and without entities, which could read other "
            f"files or grow without end. Received: {error}"
        ) from error
    # Of encodings that are unknown or that the bytes are not in, the last two.
    except (ParseError, LookupError, ValueError) as error:
        raise ValueError(f"it must be a whole XML file. It cannot be read: {error}") from error


def _decoded(content):
    declared = _ENCODING.match(content)
    if declared is None:
        return content
    encoding = declared[1].decode("ascii")
    return content.decode(encoding) if codecs.lookup(encoding).name in _WIDE else content
