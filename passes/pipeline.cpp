namespace optp {}
